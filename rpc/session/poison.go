package session

import "time"

// poison counts the workers that calls have killed, by what was called with what.
type poison struct {
	most   int
	window time.Duration
	what   map[deed]*strikes
}

type deed struct {
	method uint32
	sum    uint64
}

func (e *Entry) deed() deed {
	if e.exact != 0 {
		return deed{e.Method, e.exact}
	}
	return deed{e.Method, e.sum}
}

type strikes struct {
	n     int
	since time.Duration // of the first, or of the last that was too many
}

// poisonMost bounds how many deeds are remembered: a crash costs more than one.
const poisonMost = 4096

func (p *poison) strike(now time.Duration, e *Entry) {
	key := e.deed()
	s := p.what[key]
	switch {
	case s != nil && now-s.since < p.window:
	case len(p.what) >= poisonMost:
		return
	default:
		if p.what == nil {
			p.what = map[deed]*strikes{}
		}
		s = &strikes{since: now}
		p.what[key] = s
	}
	if s.n++; s.n == p.most {
		s.since = now
	}
}

// has tells whether what the entry calls is not to be run now.
func (p *poison) has(now time.Duration, e *Entry) bool {
	if len(p.what) == 0 {
		return false
	}
	s := p.what[e.deed()]
	return s != nil && s.n >= p.most && now-s.since < p.window
}

func (p *poison) prune(now time.Duration) {
	for key, s := range p.what {
		if now-s.since >= p.window {
			delete(p.what, key)
		}
	}
}

// Suspects tells whether any arguments have killed a worker lately: if not, nobody needs to know
// the checksum of others.
func (d *Domain) Suspects() bool { return len(d.poison.what) > 0 }

// Exact says the checksum of all that a taken entry has as arguments, where that was not known when
// it came. It tells whether it must not run, because that has killed too many workers.
func (d *Domain) Exact(now time.Duration, e *Entry, sum uint64) (poisoned bool) {
	e.exact = sum
	return d.poison.has(now, e)
}

// Pardon forgets what a method has done with the arguments of this checksum, the exact one.
func (d *Domain) Pardon(method uint32, sum uint64) { delete(d.poison.what, deed{method, sum}) }
