package conn

import "sync/atomic"

// Counts are what has happened to the connections of a pool or a server.
type Counts struct {
	Reaped uint64 // closed because they were idle, or, of a pool, to make room for another
	Silent uint64 // found dead: their peers answered no ping
	Dials  uint64 // of a pool: attempts to connect
	Failed uint64 // of them: those without success

	Refused [Refusals]uint64 // of a server: clients that were not let in

	Messages uint64 // that were queued to be sent
	Batches  uint64 // in which they, or pieces of long ones, were written: each by one write, mostly
}

type counts struct {
	reaped, silent, dials, failed atomic.Uint64

	refused [Refusals]atomic.Uint64
}

func (c *counts) told() Counts {
	n := Counts{Reaped: c.reaped.Load(), Silent: c.silent.Load(), Dials: c.dials.Load(), Failed: c.failed.Load()}
	for why := range c.refused {
		n.Refused[why] = c.refused[why].Load()
	}
	return n
}

// Counts returns what has happened since the pool was made.
func (p *Pool) Counts() Counts { return p.keeper.told() }

// Counts returns what has happened since the server was made.
func (s *Server) Counts() Counts { return s.keeper.told() }

// told adds what the connections of now have sent to what those before them had.
func (k *keeper) told() Counts {
	n := k.counts.told()
	k.mu.Lock()
	defer k.mu.Unlock()
	n.Messages, n.Batches = k.sent.messages, k.sent.batches
	for c := range k.conns {
		s := c.snd.counted()
		n.Messages += s.messages
		n.Batches += s.batches
	}
	return n
}
