package remote

import (
	"errors"
	"testing"

	"rpcpool.dev/rpc/blob"
)

// TestAMoverThatIsNotReadyIsNotTried, and is used at once when it is.
func TestAMoverThatIsNotReadyIsNotTried(t *testing.T) {
	b := noise(t, 1<<20)
	for _, mode := range []MoverMode{Auto, Required} {
		_, c, _, client := moving(t, mode)
		j := &joined{c, 8 << 20, 64 << 10}
		client.unready = faultError("away")
		_, err := c.Put(t.Context(), b, blob.Read)
		var no *MoverError
		switch {
		case mode == Auto && (err != nil || j.Least() != j.least):
			t.Errorf("%v; blobs are quicker from %d bytes on", err, j.Least())
		case mode == Required && (!errors.As(err, &no) || no.Reason != "away" || !errors.Is(err, client.unready)):
			t.Errorf("%v", err)
		}
		client.mu.Lock()
		client.unready = nil
		client.mu.Unlock()
		put(t, c, b)
		want := Moved{Mover: 1, MoverBytes: 1 << 20}
		if mode == Auto {
			want.Conn, want.ConnBytes = 1, 1<<20
		}
		m := c.Moved()
		if m.Mover != want.Mover || m.MoverBytes != want.MoverBytes || m.Conn != want.Conn || m.ConnBytes != want.ConnBytes || mode == Auto && m.Why["away"] != 1 {
			t.Errorf("it counts %+v", m)
		}
		if j.Least() != j.past {
			t.Errorf("blobs are quicker from %d bytes on", j.Least())
		}
	}
}

// TestALineThatHasBrokenIsMadeAnew: it costs no transfer.
func TestALineThatHasBrokenIsMadeAnew(t *testing.T) {
	_, c, _, client := moving(t, Auto)
	b := noise(t, 1<<20)
	put(t, c, b)
	client.fabric.mu.Lock()
	client.mu.Lock()
	for _, l := range client.fabric.lines {
		if l.mover == client {
			l.err = faultError("broken")
		}
	}
	client.mu.Unlock()
	client.fabric.mu.Unlock()
	put(t, c, b)
	if m := c.Moved(); m.Mover != 2 || len(m.Why) != 0 {
		t.Errorf("it counts %+v", m)
	}
}

// TestAServerCountsTheLinesThatItCouldNotMake, by the reason that its own mover has.
func TestAServerCountsTheLinesThatItCouldNotMake(t *testing.T) {
	r, c, server, _ := moving(t, Auto)
	server.fails["line"] = 1
	put(t, c, noise(t, 1<<20))
	if m := r.server.Moved(); m.Why["line"] != 1 || m.Conn != 1 || m.ConnBytes != 1<<20 {
		t.Errorf("it counts %+v", m)
	}
}
