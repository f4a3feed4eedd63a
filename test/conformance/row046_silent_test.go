//go:build linux

package conformance

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// A client that waits for a device loses power. Package tracker checks how dead
// peers are looked for; here one is found.
func TestRow046_QueuedClientVanishesInSilence(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	dead, err := net.Dial("tcp", tr.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	r := &raw{Conn: dead, t: t}
	r.send(tvm.AppendTrackerMagic(nil))
	r.take(4)
	r.send(tvm.AppendMessage(nil, tvm.Request{Key: key, Priority: 9}))
	pending := func() int { return tr.Summary().Queue[key].Pending }
	eventually(t, patience, "first client waits", func() bool { return pending() == 1 })

	tickets := make(chan string, 1)
	go func() {
		c, err := tracker.Dial(t.Context(), tr.addr)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if g, err := c.Request(t.Context(), key, 1); err == nil {
			tickets <- g.MatchKey
		}
	}()
	eventually(t, patience, "second client waits", func() bool { return pending() == 2 })
	goSilent(t, dead)
	took := eventually(t, patience+slack, "the dead client is found", func() bool { return pending() == 1 })
	t.Logf("found after %v", took)

	server, err := tracker.Dial(t.Context(), tr.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	put := tvm.Put{Key: key, Port: json.RawMessage("9090"), MatchKey: "dev:0.5"}
	if err := server.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	select {
	case ticket := <-tickets:
		if ticket != put.MatchKey {
			t.Errorf("ticket %q", ticket)
		}
	case <-time.After(patience):
		t.Error("the live client was not granted the device")
	}
}
