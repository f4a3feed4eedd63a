//go:build linux

package conformance

import (
	"net"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/workers/go/client"
)

func TestS0_29_ClampIsReported(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.SessionTimeout.Default, o.SessionTimeout.Max = limit, limit }).ready()
	session := tr.open(client.Options{Timeout: time.Hour})
	_, err := tryCall(session, "test.sleep", 60.0)
	if want := "the server's maximum"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("client got %v, want %q in it", err, want)
	}
	if e := s.log.nextEnd(t); !e.clamped || e.timeout != limit {
		t.Errorf("recorded clamped %v, limit %v", e.clamped, e.timeout)
	}
	if n := s.metric("rpcpool_session_timeouts_clamped_total", key); n != 1 {
		t.Errorf("%v clamps are counted", n)
	}
	inside := tr.open(client.Options{Timeout: 500 * time.Millisecond})
	_, err = tryCall(inside, "test.sleep", 60.0)
	if err == nil || strings.Contains(err.Error(), "maximum") {
		t.Errorf("client within the maximum got %v", err)
	}
	if e := s.log.nextEnd(t); e.clamped || e.timeout != 500*time.Millisecond {
		t.Errorf("recorded clamped %v, limit %v", e.clamped, e.timeout)
	}
}

// The default and the maximum are options of their own, checked against each
// other.
func TestS0_29_TimeoutOptions(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	o := sidecar.Options{Key: key, AgentSocket: "x", Listener: l.(*net.TCPListener)}
	o.SessionTimeout.Default, o.SessionTimeout.Max = time.Hour, time.Minute
	if _, err := sidecar.New(o); err == nil || !strings.Contains(err.Error(), "1h0m0s") || !strings.Contains(err.Error(), "1m0s") {
		t.Errorf("default over maximum: %v, want an error that names both", err)
	}
}
