//go:build linux

package conformance

import (
	"io"
	"testing"
	"time"

	"rpcpool.dev/workers/go/client"
)

// A client that broke the protocol is to blame, also if it closes when the
// worker has ended the session; one that only went away is not.
func TestWhoLeftFirstIsToBlame(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	for name, c := range map[string]struct {
		send  string
		waits bool // for the end, before it closes
		want  string
	}{
		"garbage, then waits":    {"\x18\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x00this is no packet...", true, "protocol-error"},
		"closes between packets": {"", false, "completed"},
	} {
		session := tr.open(client.Options{})
		checkAddOne(t, session)
		conn := session.NetConn()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		if c.waits {
			_, _ = io.Copy(io.Discard, conn)
		}
		_ = conn.Close()
		if e := s.log.nextEnd(t); e.cause != c.want {
			t.Errorf("%s: recorded %s: %s; want %s", name, e.cause, e.how, c.want)
		}
	}
}
