package registry

import (
	"maps"
	"slices"
	"time"

	"rpcpool.dev/internal/fifo"
)

// lock is one that somebody has or waits for.
type lock struct {
	holder *request
	queue  fifo.List[*request]
}

// Lock asks for a lock. Those who wait get it in their order.
func (r *Registry) Lock(now time.Duration, q *Request) (Outcome, error) {
	m, err := r.caller(now, q)
	if err != nil {
		return Outcome{}, err
	}
	n, known, err := r.open(m, q, false)
	if n == nil {
		return known, err
	}
	l := r.lock(q.Name)
	l.queue.PushBack(&n.place)
	r.grant(l)
	return n.outcome(), nil
}

func (r *Registry) lock(name string) *lock {
	l := r.locks[name]
	if l == nil {
		l = &lock{}
		r.locks[name] = l
	}
	return l
}

// grant gives a lock that is free to the first who waits, and returns that one.
// While the registry settles, its holder of before may come back.
func (r *Registry) grant(l *lock) *request {
	if l.holder != nil || l.queue.Len() == 0 || r.settling {
		return nil
	}
	q := l.queue.Pop()
	r.token++
	l.holder, q.token = q, r.token
	return q
}

// unlock takes a request out of its lock, whether it has it or waits.
func (r *Registry) unlock(q *request) {
	l := r.locks[q.name]
	if l.holder == q {
		l.holder, q.token = nil, 0
		if next := r.grant(l); next != nil {
			r.news = append(r.news, next.outcome())
		}
	} else {
		l.queue.Remove(&q.place)
	}
	if l.holder == nil && l.queue.Len() == 0 {
		delete(r.locks, q.name)
	}
}

func (r *Registry) grantAll() {
	for _, name := range slices.Sorted(maps.Keys(r.locks)) {
		if q := r.grant(r.locks[name]); q != nil {
			r.news = append(r.news, q.outcome())
		}
	}
}

// restore gives a node those locks back that it had from the registry before, as it
// says now: they are free until that has settled.
func (r *Registry) restore(n *member, held []Held) {
	for _, number := range slices.Sorted(maps.Keys(n.open)) {
		q := n.open[number]
		if q.token != 0 && q.token <= r.base && !slices.Contains(held, q.held()) {
			r.unlock(q)
			r.close(q, Over)
		}
	}
	for _, h := range held {
		if !r.settling || h.Token > r.base || r.locks[h.Name] != nil && r.locks[h.Name].holder != nil {
			continue
		}
		if q, _, _ := r.open(n, &Request{Number: h.Number, Name: h.Name}, false); q != nil {
			q.token = h.Token
			r.lock(h.Name).holder = q
		}
	}
}

func (q *request) held() Held { return Held{Name: q.name, Number: q.number, Token: q.token} }

// lacks returns those locks that are not the node's.
func (m *member) lacks(held []Held) (lost []Held) {
	for _, h := range held {
		if q := m.open[h.Number]; q == nil || q.held() != h {
			lost = append(lost, h)
		}
	}
	return lost
}
