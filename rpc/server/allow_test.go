package server

import (
	"fmt"
	"net"
	"testing"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// caller is a connection of which nothing but its address matters.
type caller struct {
	conn.Peer
	net.UnixAddr
}

func (c *caller) RemoteAddr() net.Addr { return &c.UnixAddr }

// TestNamesOfWhatAClientMayNotCallAreNotRemembered: of a server that lets all methods through, nobody can use the names up by
// which others call. When a rule says otherwise, they may be called by a connection that is there.
func TestNamesOfWhatAClientMayNotCallAreNotRemembered(t *testing.T) {
	may := false
	core, err := New(&Local{}, Options{Open: true, Allow: func(Identity) func(string) bool {
		return func(string) bool { return may }
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	l := NewDoor(core).line(&caller{})
	for i := range straysMost {
		l.bind(uint32(i), fmt.Sprint("method ", i))
	}
	if got := core.Methods(); len(got) > 0 {
		t.Errorf("%d methods are remembered, such as %q", len(got), got[0])
	}
	call := func() *Job {
		m := &session.Message{Kind: session.Call, Seq: 1}
		if err := l.link.Call(&conn.In{}, m, l.bound[7]); err != nil {
			t.Fatal(err)
		}
		j, _ := m.Tag.(*Job)
		return j
	}
	if j := call(); !j.denied || j.Method.Name != "method 7" {
		t.Errorf("a call of %q, denied: %t", j.Method.Name, j.denied)
	}
	may = true
	if j := call(); j.denied || j.Method != core.Method("method 7") {
		t.Errorf("a call that is allowed by now: %+v, denied: %t", j.Method, j.denied)
	}
}
