package remote

// Moved tells how transfers went. It is the same on both sides.
type Moved struct {
	Conn       uint64            // by the connection
	ConnBytes  uint64            // of these
	Mover      uint64            // past it
	MoverBytes uint64            // of these
	Why        map[string]uint64 // those that could have gone past it and did not, by reason
}

// past counts a transfer that has gone past the connection.
func (m *Moved) past(bytes uint64) {
	m.Mover++
	m.MoverBytes += bytes
}

// conn counts one that has gone by it.
func (m *Moved) conn(bytes uint64) {
	m.Conn++
	m.ConnBytes += bytes
}

// failed counts one that did not go past it. It goes by the connection next, or not at all.
func (m *Moved) failed(why string) {
	if m.Why == nil {
		m.Why = map[string]uint64{}
	}
	m.Why[why]++
}

// Add adds what others have moved.
func (m *Moved) Add(o Moved) {
	m.Conn += o.Conn
	m.ConnBytes += o.ConnBytes
	m.Mover += o.Mover
	m.MoverBytes += o.MoverBytes
	for why, n := range o.Why {
		if m.Why == nil {
			m.Why = map[string]uint64{}
		}
		m.Why[why] += n
	}
}

func (m *Moved) clone() Moved {
	c := Moved{Why: map[string]uint64{}}
	c.Add(*m)
	return c
}
