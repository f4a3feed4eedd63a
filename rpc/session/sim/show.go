package sim

import (
	"fmt"
	"strings"

	"rpcpool.dev/rpc/session"
)

// show renders a message for a trace, lazily.
type shown struct{ m *session.Message }

func show(m *session.Message) fmt.Stringer { return shown{m} }

// String is the kind and what is not zero.
func (s shown) String() string {
	m := s.m
	var b strings.Builder
	b.WriteString(m.Kind.String())
	if m.Seq != 0 {
		fmt.Fprintf(&b, " %d", m.Seq)
	}
	if m.Kind == session.Reply {
		fmt.Fprintf(&b, " %s %s", m.Code, m.Execution)
	}
	if m.Lane != 0 {
		fmt.Fprintf(&b, " lane %d", m.Lane)
	}
	if g := m.Greeting; g != nil {
		fmt.Fprintf(&b, " session %x resume %t life %d", g.Session[:2], g.Resume, g.Life)
	}
	if m.Ack != 0 {
		fmt.Fprintf(&b, " ack %d", m.Ack)
	}
	if f := m.Closed; f != nil {
		fmt.Fprintf(&b, " closed %d up to %d but %v", f.Version, f.Last, f.Open)
	}
	if m.Fence != 0 {
		fmt.Fprintf(&b, " fence %d", m.Fence)
	}
	return b.String()
}
