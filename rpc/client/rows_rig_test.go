package client

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// host is a server over TCP that counts what really runs.
type host struct {
	t     testing.TB
	id    string
	core  *server.Core
	local *server.Local
	net   *conn.Server
	addr  string
	stop  func()

	mu   sync.Mutex
	runs map[string]int           // by arguments
	xids map[string][]session.XID // by arguments
}

// hostOptions are those of a host's parts.
type hostOptions struct {
	core    server.Options
	net     conn.ServerOptions
	addr    string     // to listen at; empty: any port
	admit   conn.Admit // nil: everybody
	methods []server.Method
}

func newHost(t testing.TB, id string, o hostOptions) *host {
	t.Helper()
	h := &host{t: t, id: id, local: &server.Local{}, runs: map[string]int{}, xids: map[string][]session.XID{}}
	var err error
	if h.core, err = server.New(h.local, o.core); err != nil {
		t.Fatal(err)
	}
	o.methods = append(o.methods, server.Method{Name: "do", Run: h.do}, server.Method{Name: "do!", Run: h.do, Inline: true},
		server.Method{Name: "who", Run: func(*server.Job) (session.Code, []byte) { return session.OK, []byte(id) }})
	for _, m := range o.methods {
		if err := h.core.Register(m); err != nil {
			t.Fatal(err)
		}
	}
	o.net.Handler = server.NewDoor(h.core)
	if o.net.Admit = o.admit; o.admit == nil {
		o.net.Admit = admitAll
	}
	if h.net, err = conn.NewServer(o.net); err != nil {
		t.Fatal(err)
	}
	if o.addr == "" {
		o.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	served := make(chan struct{})
	go func() {
		_ = h.net.Serve(l)
		close(served)
	}()
	h.stop = sync.OnceFunc(func() {
		_ = h.net.Close()
		<-served
		_ = h.local.Close()
		_ = h.core.Close()
	})
	t.Cleanup(h.stop)
	return h
}

func admitAll(hello *frame.Hello) frame.HelloAck {
	return frame.Answer(hello, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams})
}

// ran notes a run.
func (h *host) ran(j *server.Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[string(j.Args)]++
	h.xids[string(j.Args)] = append(h.xids[string(j.Args)], j.XID())
}

func (h *host) do(j *server.Job) (session.Code, []byte) {
	h.ran(j)
	return session.OK, append([]byte("did "), j.Args...)
}

// count returns how often something has run.
func (h *host) count(args string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runs[args]
}

// xid returns the identity of something's first run.
func (h *host) xid(args string) (x session.XID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.xids[args]; len(all) > 0 {
		x = all[0]
	}
	return x
}

func (h *host) endpoint() conn.Endpoint { return conn.Endpoint{ID: h.id, TCP: h.addr} }

// behind puts a proxy before a server.
func behind(t testing.TB, addr func() string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (h *host) behind() (*faultproxy.Proxy, conn.Endpoint) {
	p := behind(h.t, func() string { return h.addr })
	return p, conn.Endpoint{ID: h.id, TCP: p.Addr()}
}

// newClient makes a client of some servers.
func newClient(t testing.TB, o Options, endpoints ...conn.Endpoint) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Update(endpoints); err != nil {
		t.Fatal(err)
	}
	return c
}

// quick are options with short pauses.
func quick() Options {
	return Options{
		Pool:    conn.PoolOptions{Backoff: conn.Backoff{First: time.Millisecond, Most: 10 * time.Millisecond}},
		Session: session.ClientOptions{RedialLeast: time.Millisecond, RedialMost: 10 * time.Millisecond},
	}
}

// ask makes one call.
func ask(ctx context.Context, c *Client, method, args string) *Call {
	u := &Call{Method: method, Args: []byte(args)}
	c.Do(ctx, u)
	return u
}

// is fails the test unless the call ended so.
func (u *Call) is(t testing.TB, code session.Code, e session.Execution) {
	t.Helper()
	if u.Outcome.Code != code || u.Outcome.Execution != e {
		t.Errorf("%s(%.16q) ended with %v, %v (%s), want %v, %v", u.Method, u.Args, u.Outcome.Code, u.Outcome.Execution, u.Text, code, e)
	}
}

// eventually waits until something is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// gate is a handler that waits.
type gate struct {
	entered chan string
	open    chan struct{}
	deaf    bool // it does not heed its context
}

func newGate() *gate { return &gate{entered: make(chan string, 1<<17), open: make(chan struct{})} }

func (g *gate) run(j *server.Job) (session.Code, []byte) {
	g.entered <- string(j.Args)
	done := j.Done()
	if g.deaf {
		done = nil
	}
	select {
	case <-g.open:
		return session.OK, []byte("did " + string(j.Args))
	case <-done:
		return session.Failed, nil
	}
}

// beats is the clock of a pool's or a server's keeper, that tests move.
type beats struct {
	ticks chan time.Time
	every time.Duration
	now   time.Time
}

func newBeats() *beats { return &beats{ticks: make(chan time.Time), now: time.Now()} }

func (b *beats) ticker(every time.Duration) (<-chan time.Time, func()) {
	b.every = every
	return b.ticks, func() {}
}

// advance lets the keeper tick, and look, for a time.
func (b *beats) advance(d time.Duration) {
	for end := b.now.Add(d); b.now.Add(b.every).Compare(end) <= 0; {
		b.now = b.now.Add(b.every)
		b.ticks <- b.now
	}
	b.ticks <- b.now // returns when the keeper has looked
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return all
}
