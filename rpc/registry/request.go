package registry

import (
	"errors"
	"maps"
	"slices"
	"time"

	"rpcpool.dev/internal/fifo"
)

// Request asks for a lock, or arrives at a barrier, or takes that back.
type Request struct {
	Owner  Owner  `cbor:"1,keyasint"`
	Number uint64 `cbor:"2,keyasint"`           // the owner's own, from 1 on: the same number is the same request
	Name   string `cbor:"3,keyasint,omitempty"` // of the lock or barrier
	N      int    `cbor:"4,keyasint,omitempty"` // of a barrier: how many must arrive
}

func (q *Request) check() error {
	if q.Number == 0 {
		return errors.New("a request has no number")
	}
	if q.N < 0 || q.N > MaxNodes {
		return errors.New("a barrier is of less than none, or of too many")
	}
	if err := checkText("name", q.Name); err != nil {
		return err
	}
	return q.Owner.check()
}

// Progress is what has become of a request.
type Progress uint8

// Progress of requests. All but Waiting and Granted are final.
const (
	Waiting Progress = iota + 1
	Granted          // the lock is the owner's until it releases it or is fenced
	Passed           // all have arrived at the barrier
	Broken           // one who had arrived at the barrier is gone: all who wait begin anew
	Over             // the lock was released, or the wait given up
)

// Outcome is a request's progress.
type Outcome struct {
	Epoch    uint64   `cbor:"1,keyasint"` // whose request it is
	Number   uint64   `cbor:"2,keyasint"`
	Progress Progress `cbor:"3,keyasint"`
	Token    uint64   `cbor:"4,keyasint,omitempty"` // of a lock that is granted: greater than that of any grant before
}

func (o *Outcome) check() error {
	if o.Progress < Waiting || o.Progress > Over || o.Progress == Granted && o.Token == 0 {
		return errors.New("an outcome is none")
	}
	return nil
}

// request is one that is open: it waits, or has a lock.
type request struct {
	owner   *member
	number  uint64
	name    string
	barrier *barrier // nil: it is for a lock
	place   fifo.Node[*request]
	token   uint64 // of a lock that it has
}

func (q *request) outcome() Outcome {
	o := Outcome{Epoch: q.owner.node.Epoch, Number: q.number, Progress: Waiting, Token: q.token}
	if q.token != 0 {
		o.Progress = Granted
	}
	return o
}

// Bounds of a node's requests.
const (
	maxOpen  = 1024
	maxEnded = 64
)

// ended are the last requests of a node that are over, so that a copy which comes
// late does not ask again. Any request up to floor is over too.
type ended struct {
	last  []Outcome
	floor uint64
}

func (e *ended) add(o Outcome) {
	if len(e.last) == maxEnded {
		e.floor = max(e.floor, e.last[0].Number)
		e.last = slices.Delete(e.last, 0, 1)
	}
	e.last = append(e.last, o)
}

func (e *ended) find(number uint64) (Outcome, bool) {
	for _, o := range e.last {
		if o.Number == number {
			return o, true
		}
	}
	return Outcome{Progress: Over}, number <= e.floor
}

// open returns a new request of m, or the outcome of the one that m knows already.
func (r *Registry) open(m *member, q *Request, barrier bool) (*request, Outcome, error) {
	if has := m.open[q.Number]; has != nil {
		if has.name != q.Name || (has.barrier != nil) != barrier {
			return nil, Outcome{}, refuse(Malformed, 0, "request %d is for %q already", q.Number, has.name)
		}
		return nil, has.outcome(), nil
	}
	if o, over := m.ended.find(q.Number); over {
		o.Epoch, o.Number = m.node.Epoch, q.Number
		return nil, o, nil
	}
	if len(m.open) == maxOpen {
		return nil, Outcome{}, refuse(Full, time.Second, "node %q has %d requests open", m.node.ID, maxOpen)
	}
	n := &request{owner: m, number: q.Number, name: q.Name}
	n.place.Value = n
	m.open[q.Number] = n
	return n, Outcome{}, nil
}

// close ends a request; what it waited in or had, it is out of already.
func (r *Registry) close(q *request, p Progress) Outcome {
	o := Outcome{Epoch: q.owner.node.Epoch, Number: q.number, Progress: p}
	delete(q.owner.open, q.number)
	q.owner.ended.add(o)
	return o
}

// caller returns who makes a request, if it is a sound one.
func (r *Registry) caller(now time.Duration, q *Request) (*member, error) {
	if err := q.check(); err != nil {
		return nil, refuse(Malformed, 0, "%v", err)
	}
	return r.member(now, &q.Owner)
}

// Release gives a lock back, or takes back what still waits. It may come twice; if
// it overtakes its request, that one is over when it comes.
func (r *Registry) Release(now time.Duration, q *Request) error {
	m, err := r.caller(now, q)
	if err != nil {
		return err
	}
	if has := m.open[q.Number]; has != nil {
		r.leave(has)
		r.close(has, Over)
	} else if _, over := m.ended.find(q.Number); !over {
		m.ended.add(Outcome{Epoch: m.node.Epoch, Number: q.Number, Progress: Over})
	}
	return nil
}

func (r *Registry) leave(q *request) {
	if q.barrier != nil {
		r.withdraw(q)
	} else {
		r.unlock(q)
	}
}

// abandon takes all that a node had asked for from it, when it is gone.
func (r *Registry) abandon(m *member) {
	for _, number := range slices.Sorted(maps.Keys(m.open)) {
		q := m.open[number]
		if q == nil {
			continue // it waited at a barrier that is broken by now
		}
		b := q.barrier
		r.leave(q)
		delete(m.open, number)
		if b != nil {
			r.release(q.name, b, Broken)
		}
	}
	r.news = slices.DeleteFunc(r.news, func(o Outcome) bool { return o.Epoch == m.node.Epoch })
}

// News returns the progress that requests have made since the last time, other
// than what was returned to their callers: it is to be told to their owners. Who
// misses it asks again with the same number.
func (r *Registry) News(now time.Duration) []Outcome {
	r.advance(now)
	news := r.news
	r.news = nil
	return news
}
