package sim

import (
	"fmt"
	"strings"

	"rpcpool.dev/rpc/session"
)

// logMessage is logf for the most frequent lines. It costs nothing without a trace.
func (w *world) logMessage(format string, node int, link session.Conn, m *session.Message) {
	if w.trace != nil {
		w.logf(format, node, link, show(m))
	}
}

// show is the kind of a message, and what of it is not zero.
func show(m *session.Message) string {
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
	if m.Needs != nil {
		b.WriteString(" needs")
		fmt.Fprint(&b, m.Needs.Calls)
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
