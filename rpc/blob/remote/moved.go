package remote

// Moved tells how transfers went. It is the same on both sides.
type Moved struct {
	Conn  uint64            // by the connection
	Mover uint64            // past it
	Why   map[string]uint64 // those that could have gone past it and did not, by reason
}

func (m *Moved) count(past bool, why string) {
	switch {
	case past:
		m.Mover++
		return
	case why == "":
		m.Conn++
		return
	}
	if m.Why == nil {
		m.Why = map[string]uint64{}
	}
	m.Why[why]++
}

func (m *Moved) clone() Moved {
	c := Moved{Conn: m.Conn, Mover: m.Mover, Why: map[string]uint64{}}
	for k, v := range m.Why {
		c.Why[k] = v
	}
	return c
}
