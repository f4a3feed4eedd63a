//go:build linux

package conformance

import (
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
)

func TestRow067_IdleConnections(t *testing.T) {
	t.Parallel()
	const deadline = time.Second
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.HandshakeTimeout = deadline }).ready()
	var silent sync.WaitGroup
	for _, sent := range []string{"", "\x71\xf2\x0f\x00", "\x71\xf2\x0f\x00\x0a\x00\x00\x00", "\x71\xf2\x0f\x00\x0a\x00\x00\x00clie"} {
		r, began := dialRaw(t, s.addr), time.Now()
		r.send([]byte(sent))
		silent.Go(func() {
			got := r.rest()
			if took := time.Since(began); took < deadline/2 || took > deadline+5*time.Second || len(got) > 0 {
				t.Errorf("%d bytes and silence: closed after %v with % x, want %v and nothing", len(sent), took, got, deadline)
			}
		})
	}
	began := time.Now()
	tr.works()
	t.Logf("a session beside idle connections took %v", time.Since(began))
	silent.Wait()
	tr.works()
	if n := s.metric("rpcpool_handshakes_total", "timeout"); n != 4 {
		t.Errorf("%v handshakes are counted as timed out, want 4", n)
	}
}

func TestRow068_ConnectAndClose(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, ticket := tr.ticket()
	lines := s.log.count(slog.LevelInfo)
	for range 200 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		closeOf(t, c)
	}
	eventually(t, patience, "all probes seen", func() bool { return s.metric("rpcpool_handshakes_total", "closed") == 200 })
	if more := s.log.count(slog.LevelInfo) - lines; more > 0 {
		t.Errorf("200 probes made %d lines of log", more)
	}
	useTicket(t, s, ticket)
}

// endless opens a session with options in its key and calls a function that
// does not return; it gives the exception and how long it took from the moment
// that the session began.
func endless(t *testing.T, s *server, options string) (text string, took time.Duration) {
	t.Helper()
	_, ticket := s.tracker.ticket()
	r := dialRaw(t, s.addr)
	began := time.Now()
	if a := r.shake("client:" + ticket + options); a.Code != tvm.HandshakeSuccess {
		t.Fatalf("%q: answer %#x", options, a.Code)
	}
	err := r.start()
	if err == nil {
		_, err = r.call("test.sleep", tvm.Float(60))
	}
	if err == nil {
		t.Fatalf("%q: the call came back", options)
	}
	return err.Error(), time.Since(began)
}

func TestRow069_TimeoutForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form string
		want time.Duration
	}{
		{"10", 10 * time.Second},
		{"10.0", 10 * time.Second},
		{"0.01", 10 * time.Millisecond},
		{"1e-05", 10 * time.Microsecond},
		{"1.5e0", 1500 * time.Millisecond},
	} {
		t.Run(c.form, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, startTracker(t)).ready()
			text, took := endless(t, s, " -timeout="+c.form)
			t.Logf("killed after %v", took)
			if took < c.want || took > c.want+500*time.Millisecond+slack {
				t.Errorf("killed after %v, want %v", took, c.want)
			}
			if !strings.HasPrefix(text, tvm.SessionTimeoutPrefix) {
				t.Errorf("the client was told %q", text)
			}
			if e := s.log.nextEnd(t); e.cause != "timeout" || e.timeout != c.want {
				t.Errorf("recorded: %s, limit %v", e.cause, e.timeout)
			}
			s.tracker.works()
		})
	}
}

func TestRow070_OddTimeouts(t *testing.T) {
	t.Parallel()
	const pool, most = 40 * time.Second, 2 * time.Minute
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.SessionTimeout.Default, o.SessionTimeout.Max = pool, most }).ready()
	for _, c := range []struct {
		options string
		want    time.Duration
		clamped bool
	}{
		{"", pool, false},
		{" -timeout=abc", pool, false},
		{" -timeout=", pool, false},
		{" -timeout=-1", pool, false},
		{" -timeout=0", pool, false},
		{" -timeout=nan", pool, false},
		{" -timeout=inf", pool, false},
		{" -timeout=0x10", pool, false},
		{" -timeout=1e308", most, true},
		{" -timeout=1e400", pool, false},
		{" -timeout=" + strings.Repeat("9", 300), most, true},
		{" -timeout=7 -timeout=8", 8 * time.Second, false},
		{" -timeout=7 -timeout=abc", 7 * time.Second, false},
	} {
		_, ticket := tr.ticket()
		r := dialRaw(t, s.addr)
		r.session("client:" + ticket + c.options)
		r.bye()
		e := s.log.nextEnd(t)
		if e.cause != "completed" || e.timeout != c.want || e.clamped != c.clamped {
			t.Errorf("%q: %s with a limit of %v (clamped: %v), want %v (%v)", c.options, e.cause, e.timeout, e.clamped, c.want, c.clamped)
		}
	}
}

func TestRow071_UnknownOptions(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	for options, want := range map[string]time.Duration{
		" -foo=1 bar":                time.Minute,
		" -foo=1 -timeout=20 bar":    20 * time.Second,
		"  bar\t-timeout=20\n-x":     20 * time.Second,
		" timeout=20 --timeout=20":   time.Minute,
		" -timeout=20 -TIMEOUT=1":    20 * time.Second,
		" client:other server:other": time.Minute,
	} {
		_, ticket := tr.ticket()
		r := dialRaw(t, s.addr)
		r.session("client:" + ticket + options)
		r.bye()
		if e := s.log.nextEnd(t); e.timeout != want {
			t.Errorf("%q: limit %v, want %v", options, e.timeout, want)
		}
	}
}
