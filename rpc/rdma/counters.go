package rdma

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Counts are what an adapter has done. All but Registered and Queues only grow.
type Counts struct {
	Pulls       uint64            // that have moved all their bytes
	PulledBytes uint64            // by these
	Inline      uint64            // of them, that had their bytes in the descriptor
	Failed      map[Reason]uint64 // by why

	Registrations   uint64 // ever made
	Registered      int64  // regions now
	RegisteredBytes int64
	QueuesMade      uint64
	QueuesBroken    uint64
	Queues          int64  // now
	Sleeps          uint64 // waits for an event, after polling was in vain
	Stuck           uint64 // regions that will never be given back
}

type counters struct {
	pulls, pulledBytes, inline       atomic.Uint64
	registrations, made, broken      atomic.Uint64
	sleeps, stuck                    atomic.Uint64
	regions, registeredBytes, queues atomic.Int64

	mu     sync.Mutex
	failed map[Reason]uint64
}

func (c *counters) registered(bytes int) {
	c.registrations.Add(1)
	c.regions.Add(1)
	c.registeredBytes.Add(int64(bytes))
}

func (c *counters) deregistered(bytes int) {
	c.regions.Add(-1)
	c.registeredBytes.Add(-int64(bytes))
}

func (c *counters) fail(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[Reason]uint64{}
	}
	c.failed[r]++
}

// Counts returns what the adapter has done so far.
func (a *Adapter) Counts() Counts {
	c := &a.counts
	c.mu.Lock()
	failed := maps.Clone(c.failed)
	c.mu.Unlock()
	return Counts{
		Pulls: c.pulls.Load(), PulledBytes: c.pulledBytes.Load(), Inline: c.inline.Load(), Failed: failed,
		Registrations: c.registrations.Load(), Registered: c.regions.Load(), RegisteredBytes: c.registeredBytes.Load(),
		QueuesMade: c.made.Load(), QueuesBroken: c.broken.Load(), Queues: c.queues.Load(),
		Sleeps: c.sleeps.Load(), Stuck: c.stuck.Load(),
	}
}

// Add adds what another adapter has done.
func (c *Counts) Add(o Counts) {
	c.Pulls += o.Pulls
	c.PulledBytes += o.PulledBytes
	c.Inline += o.Inline
	for reason, n := range o.Failed {
		if c.Failed == nil {
			c.Failed = map[Reason]uint64{}
		}
		c.Failed[reason] += n
	}
	c.Registrations += o.Registrations
	c.Registered += o.Registered
	c.RegisteredBytes += o.RegisteredBytes
	c.QueuesMade += o.QueuesMade
	c.QueuesBroken += o.QueuesBroken
	c.Queues += o.Queues
	c.Sleeps += o.Sleeps
	c.Stuck += o.Stuck
}
