package conn

import (
	"sync"
	"time"
)

// pulseEvery is how often a pulse beats; stillMost is how long it may be between two beats on a busy machine.
const (
	pulseEvery = 250 * time.Millisecond
	stillMost  = time.Second
)

// pulse tells whether this process stands still while it waits for something: it is stopped, or the machine sleeps.
// What it sees of its time-outs afterwards says nothing of those for whom it has waited.
type pulse struct {
	clock func() time.Duration

	mu    sync.Mutex
	timer *time.Timer
	last  time.Duration
	still bool
	over  bool
}

func startPulse(clock func() time.Duration) *pulse {
	p := &pulse{clock: clock, last: clock()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(pulseEvery, p.beat)
	return p
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	p.still = p.still || now-p.last > stillMost
	if p.last = now; !p.over {
		p.timer.Reset(pulseEvery)
	}
}

// stop tells whether the process has stood still since the start.
func (p *pulse) stop() bool {
	p.beat() // which is before the timer's where all that was due comes at once
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
	return p.still
}
