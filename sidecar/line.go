package sidecar

import (
	"container/list"
	"errors"
	"sync"
)

// errLineFull refuses a client where too many wait already.
var errLineFull = errors.New("too many clients wait")

// line is where clients wait for their turn, in the order of their coming.
type line struct {
	mu      sync.Mutex
	waiters list.List // of *waiter
}

// waiter is a place in a line. turn is closed when it has become the first.
type waiter struct {
	turn  chan struct{}
	place *list.Element
}

// join takes the last place.
func (l *line) join() (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiters.Len() >= maxWaiters {
		return nil, errLineFull
	}
	w := &waiter{turn: make(chan struct{})}
	w.place = l.waiters.PushBack(w)
	if l.waiters.Len() == 1 {
		close(w.turn)
	}
	return w, nil
}

// leave gives a place up. The next in line has its turn if the first leaves.
func (l *line) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wasFirst := l.waiters.Front() == w.place
	l.waiters.Remove(w.place)
	if next := l.waiters.Front(); wasFirst && next != nil {
		close(next.Value.(*waiter).turn) //nolint:forcetypeassert // join is the only one to push
	}
}
