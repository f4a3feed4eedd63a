package controllers

import (
	"sync"
	"time"
)

// pacer passes news on: the first of a kind at once, further ones at most once a
// period. None is lost, none waits for longer than a period, and a kind of which
// there is no news costs nothing.
type pacer[K comparable] struct {
	// period between two calls of emit for the same kind.
	period time.Duration
	// emit is called with the kind, from any goroutine. It must not block.
	emit func(K)
	// after is time.AfterFunc, but for tests.
	after func(time.Duration, func())

	mu    sync.Mutex
	quiet map[K]bool // in its pause; true: there is news since
}

// notify tells that there is news of the kind k.
func (p *pacer[K]) notify(k K) {
	p.mu.Lock()
	if _, pausing := p.quiet[k]; pausing {
		p.quiet[k] = true
		p.mu.Unlock()
		return
	}
	if p.quiet == nil {
		p.quiet = map[K]bool{}
	}
	p.quiet[k] = false
	p.mu.Unlock()
	p.pass(k)
}

func (p *pacer[K]) pass(k K) {
	p.after(p.period, func() { p.resume(k) })
	p.emit(k)
}

// resume ends a pause.
func (p *pacer[K]) resume(k K) {
	p.mu.Lock()
	news := p.quiet[k]
	if news {
		p.quiet[k] = false
	} else {
		delete(p.quiet, k)
	}
	p.mu.Unlock()
	if news {
		p.pass(k)
	}
}
