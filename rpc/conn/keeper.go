package conn

import (
	"sync"
	"sync/atomic"
	"time"
)

// ticksPerTimeout is how often a keeper looks while a timeout passes. What is
// idle is found out within two ticks: in [T, 1.25 T].
const ticksPerTimeout = 8

// Ticker makes a clock's ticks: monotonic times, every so often.
type Ticker func(every time.Duration) (ticks <-chan time.Time, stop func())

func realTicker(every time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// keeper looks after connections: it ends those that are idle, and those whose
// peers are silent. One goroutine does it for all of them.
type keeper struct {
	idle    time.Duration // 0: connections may be idle for ever
	alive   Keepalive
	traffic bool             // a connection over which something comes is not idle, even if nobody holds it
	busy    func(*Conn) bool // tells whether a connection is not idle, although nothing comes and nobody holds it; nil: it is
	reap    func(*Conn)      // ends an idle connection that nobody can hold any more

	every time.Duration
	now   atomic.Int64 // ns since the start, at the last tick
	stop  func()

	counts counts

	mu    sync.Mutex
	conns map[*Conn]struct{}
	sent  sent // by those that are gone
}

// kept is what a keeper knows about a connection.
type kept struct {
	heard  int64 // tick at which something had been heard
	pinged int64 // tick of the last ping
}

// start begins to look.
func (k *keeper) start(ticker Ticker) {
	k.conns = map[*Conn]struct{}{}
	k.every = k.alive.Answer / 4
	if k.idle > 0 {
		k.every = min(k.every, k.idle/ticksPerTimeout)
	}
	k.every = max(k.every, time.Millisecond)
	ticks, stopTicks := ticker(k.every)
	quit, exited := make(chan struct{}), make(chan struct{})
	k.stop = sync.OnceFunc(func() {
		close(quit)
		<-exited
		stopTicks()
	})
	go func() {
		defer close(exited)
		k.run(ticks, quit)
	}()
}

func (k *keeper) run(ticks <-chan time.Time, quit <-chan struct{}) {
	var start time.Time
	for {
		select {
		case t := <-ticks:
			if start.IsZero() {
				start = t.Add(-k.every)
			}
			k.tick(t.Sub(start))
		case <-quit:
			return
		}
	}
}

func (k *keeper) add(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.kept.heard = k.now.Load()
	k.conns[c] = struct{}{}
}

func (k *keeper) remove(c *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := c.snd.counted()
	k.sent.messages += s.messages
	k.sent.batches += s.batches
	delete(k.conns, c)
}

func (k *keeper) all() []*Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*Conn, 0, len(k.conns))
	for c := range k.conns {
		all = append(all, c)
	}
	return all
}

// tick looks at all connections. If it is very late, this process stood still: nobody could be heard, or was asked.
func (k *keeper) tick(now time.Duration) {
	was := time.Duration(k.now.Swap(int64(now)))
	for _, c := range k.all() {
		if now-was > k.every+stillMost {
			c.kept.heard = int64(now)
		}
		k.look(c, int64(now))
	}
}

// look decides about one connection. Times that were stamped between two ticks
// are those of the earlier one, so a tick is added where too early would be
// wrong, and taken off where too late would be.
func (k *keeper) look(c *Conn, now int64) {
	if c.heard.Swap(false) {
		c.kept.heard = now
	}
	if c.Held() == 0 {
		since := c.idleSince.Load()
		if k.traffic {
			since = max(since, c.kept.heard)
		}
		switch {
		case k.idle == 0 || now-since < int64(k.idle+k.every):
		case k.busy != nil && k.busy(c):
			c.kept.heard = now // which is asked again after as long
		case c.hold.reap():
			k.counts.reaped.Add(1)
			k.reap(c)
		}
		return
	}
	silent := now - max(c.kept.heard, c.busySince.Load())
	switch {
	case c.Err() != nil: // it ends, and was counted
	case silent >= int64(k.alive.bound()-2*k.every):
		k.counts.silent.Add(1)
		c.end(ErrSilentPeer)
	case silent >= int64(k.alive.Silence) && now-c.kept.pinged >= int64(k.alive.Answer-k.every):
		c.kept.pinged = now
		_ = c.ping() // a full queue has a write timeout of its own
	}
}

// oldest returns the connection that has been idle for the longest time, for
// nobody to hold it any more, or nil.
func (k *keeper) oldest() *Conn {
	for {
		var oldest *Conn
		for _, c := range k.all() {
			if c.Held() == 0 && c.Err() == nil && (oldest == nil || c.idleSince.Load() < oldest.idleSince.Load()) {
				oldest = c
			}
		}
		if oldest == nil {
			return nil
		}
		if oldest.hold.reap() {
			k.counts.reaped.Add(1)
			return oldest
		}
	}
}
