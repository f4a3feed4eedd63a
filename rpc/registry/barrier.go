package registry

import (
	"time"

	"rpcpool.dev/internal/fifo"
)

// barrier is one that not all have arrived at.
type barrier struct {
	n       int
	waiting fifo.List[*request]
}

// Arrive waits at a barrier until N requests do. They may be of one node. If a node
// that has arrived is fenced or deregisters, the others are released too, with
// [Broken]: who is left decides whether to meet anew.
func (r *Registry) Arrive(now time.Duration, q *Request) (Outcome, error) {
	m, err := r.caller(now, q)
	if err != nil {
		return Outcome{}, err
	}
	n, known, err := r.open(m, q, true)
	if n == nil {
		return known, err
	}
	b := r.barriers[q.Name]
	if b != nil && b.n != q.N {
		delete(m.open, q.Number)
		return Outcome{}, refuse(Malformed, 0, "barrier %q is of %d, not of %d", q.Name, b.n, q.N)
	}
	if q.N <= 1 {
		return r.close(n, Passed), nil
	}
	if b == nil {
		b = &barrier{n: q.N}
		r.barriers[q.Name] = b
	}
	n.barrier = b
	if b.waiting.Len()+1 == b.n {
		r.release(q.Name, b, Passed)
		return r.close(n, Passed), nil
	}
	b.waiting.PushBack(&n.place)
	return n.outcome(), nil
}

// release lets all go who wait at a barrier.
func (r *Registry) release(name string, b *barrier, p Progress) {
	for b.waiting.Len() > 0 {
		r.news = append(r.news, r.close(b.waiting.Pop(), p))
	}
	if r.barriers[name] == b {
		delete(r.barriers, name)
	}
}

// withdraw takes one who waits out of the barrier; the others go on waiting.
func (r *Registry) withdraw(q *request) {
	q.barrier.waiting.Remove(&q.place)
	if q.barrier.waiting.Len() == 0 {
		delete(r.barriers, q.name)
	}
}
