package conn

import "sync/atomic"

// Counts are what has happened to the connections of a pool or a server.
type Counts struct {
	Reaped uint64 // closed because they were idle, or, of a pool, to make room for another
	Silent uint64 // found dead: their peers answered no ping
	Dials  uint64 // of a pool: attempts to connect
	Failed uint64 // of them: those without success
}

type counts struct{ reaped, silent, dials, failed atomic.Uint64 }

func (c *counts) told() Counts {
	return Counts{Reaped: c.reaped.Load(), Silent: c.silent.Load(), Dials: c.dials.Load(), Failed: c.failed.Load()}
}

// Counts returns what has happened since the pool was made.
func (p *Pool) Counts() Counts { return p.keeper.counts.told() }

// Counts returns what has happened since the server was made.
func (s *Server) Counts() Counts { return s.keeper.counts.told() }
