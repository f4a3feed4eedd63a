package wire

import (
	"net"
	"time"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// linkLeast is the length, in bytes, from which on the time that a body takes to leave says how
// fast the link is: a shorter one only goes into a buffer.
const linkLeast = 256 << 10

// Faraway tells whether compression may pay towards an address: not on this machine.
func Faraway(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && !t.IP.IsLoopback()
}

// Squeeze compresses a message's body, if a wants that and it becomes shorter.
func Squeeze(c *compress.Compressors, a *compress.Adaptive, id compress.ID, f *conn.Message) {
	n := len(f.Body)
	if n < compress.MinLen {
		return
	}
	if out, yes := c.Encode(a, make([]byte, 0, n/2), id, f.Body); yes {
		f.Flags |= frame.FlagCompressed
		f.Ext.PlainLen, f.Body = uint64(n), out
	}
}

// Time sees to it that a is told the time that a long body takes to leave. It comes after the
// message has its owner.
func Time(a *compress.Adaptive, f *conn.Message) {
	if len(f.Body) >= linkLeast {
		f.Owner = &timed{owner: f.Owner, a: a, n: len(f.Body), start: time.Now()}
	}
}

// timed notes how long a body took to leave.
type timed struct {
	owner conn.Releaser // of the body; may be nil
	a     *compress.Adaptive
	n     int
	start time.Time
}

// Release implements [conn.Releaser].
func (t *timed) Release() {
	t.a.Link(t.n, time.Since(t.start))
	if t.owner != nil {
		t.owner.Release()
	}
}

// Disown lets go of the memory of a message that was not sent: that says nothing of the link.
func Disown(f *conn.Message) {
	owner := f.Owner
	if t, ok := owner.(*timed); ok {
		owner = t.owner
	}
	if owner != nil {
		owner.Release()
	}
}
