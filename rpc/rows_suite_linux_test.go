package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/mover"
	"rpcpool.dev/rpc/rdma/verbs"
)

// way is one of the ways that calls and their bytes may go.
type way struct {
	name     string
	network  string // unix, tcp or tls; empty: in the process
	mover    bool
	client   ClientOptions
	messages conn.Transport
	blobs    client.BlobWay
}

func everyWay() []way {
	return []way{
		{name: "in process"},
		{name: "Unix socket", network: "unix", client: ClientOptions{BlobThreshold: -1}, messages: conn.TransportUnix, blobs: client.BlobsNone},
		{name: "Unix socket, shared memory", network: "unix", messages: conn.TransportUnix, blobs: client.BlobsShared},
		{name: "TCP", network: "tcp", client: ClientOptions{BlobThreshold: -1}, messages: conn.TransportTCP, blobs: client.BlobsNone},
		{name: "TCP, shared memory", network: "tcp", messages: conn.TransportTCP, blobs: client.BlobsShared},
		{name: "TCP, connections for bytes", network: "tcp", client: ClientOptions{NoSharedMemory: true}, messages: conn.TransportTCP, blobs: client.BlobsConn},
		{name: "TLS", network: "tls", client: ClientOptions{BlobThreshold: -1}, messages: conn.TransportTLS, blobs: client.BlobsNone},
		{name: "TLS, shared memory", network: "tls", messages: conn.TransportTLS, blobs: client.BlobsShared},
		{name: "TLS, connections for bytes", network: "tls", client: ClientOptions{NoSharedMemory: true}, messages: conn.TransportTLS, blobs: client.BlobsConn},
		{name: "TCP, RDMA of the fake", network: "tcp", mover: true, client: ClientOptions{NoSharedMemory: true, FarBlobs: remote.Options{Mode: remote.Required}}, messages: conn.TransportTCP, blobs: client.BlobsMover},
	}
}

// TestS1_19_TheSameSuiteByEveryWay: what is called, and how it ends, does not depend on how it gets there.
func TestS1_19_TheSameSuiteByEveryWay(t *testing.T) {
	for _, w := range everyWay() {
		t.Run(w.name, func(t *testing.T) {
			caller, peers := w.open(t)
			suite(t, caller)
			suiteOfEnds(t, caller)
			c, is := caller.(*Client)
			if !is {
				return
			}
			if w.blobs != client.BlobsNone {
				suiteOfBlobs(t, c)
			}
			p := peers()
			if len(p) != 1 || p[0].Route.Transport != w.messages || p[0].Blobs.Way != w.blobs || p[0].Blobs.Reason == "" {
				t.Errorf("it went by %+v", p)
			}
			page := httptest.NewRecorder()
			c.PeersPage().ServeHTTP(page, nil)
			for _, word := range []string{w.messages.String(), string(w.blobs), p[0].Blobs.Reason} {
				if !strings.Contains(page.Body.String(), word) {
					t.Errorf("the page does not say %q:\n%s", word, page.Body)
				}
			}
		})
	}
}

// suite are calls as programs make them.
func suite(t *testing.T, c Caller) {
	t.Helper()
	for _, n := range []int{0, 1, LongBlob - 1, LongBlob, 1 << 20, 9 << 20} {
		for range 2 { // the second time a long result may be a blob
			if got, err := Call[[]byte](soon(t), c, "echo", fill(n)); err != nil || !bytes.Equal(got, fill(n)) {
				t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
			}
		}
		if sum, err := Call[uint64](soon(t), c, "read", bytes.NewReader(fill(n))); err != nil || sum != checksum(fill(n)) {
			t.Errorf("%d bytes of a reader: %v", n, err)
		}
	}
	d, err := Call[document](soon(t), c, "document", document{"name", fill(LongBlob + 1)})
	if err != nil || d.Name != "NAME" || !bytes.Equal(d.Data, bytes.ToUpper(fill(LongBlob+1))) {
		t.Errorf("a struct came back as %q with %d bytes, %v", d.Name, len(d.Data), err)
	}
	var e *Error
	if _, err := Call[int](soon(t), c, "spoil", printArgs{Format: "fail"}); !errors.As(err, &e) || e.Code != Failed || e.Execution != Executed || !strings.Contains(err.Error(), "as asked") {
		t.Errorf("a handler's error is %v", err)
	}
	if _, err := Call[int](soon(t), c, "nowhere", nil); !errors.As(err, &e) || e.Code != Unimplemented || e.Execution != NotExecuted {
		t.Errorf("a method that is not there: %v", err)
	}
	if _, err := Call[int](soon(t), c, "length", map[string]int{"no": 1}); !errors.As(err, &e) || e.Code != Invalid {
		t.Errorf("arguments of another type: %v", err)
	}
	spawned := make([]*Future[int], 50)
	for i := range spawned {
		spawned[i] = Spawn[int](soon(t), c, "length", fill(i))
	}
	for i, f := range spawned {
		if n, err := f.Get(soon(t)); err != nil || n != i {
			t.Errorf("call %d of %d side by side is of %d bytes, %v", i, len(spawned), n, err)
		}
	}
}

// suiteOfEnds are the ends of calls that are no results, streams, and calls whose result nobody wants.
func suiteOfEnds(t *testing.T, c Caller) {
	t.Helper()
	ended := func(what string, err error, code Code, ran Execution) {
		t.Helper()
		if !errors.Is(err, code) || !errors.Is(err, ran) {
			t.Errorf("%s ends with %v, want %v (%v)", what, err, code, ran)
		}
	}
	_, err := Call[int](soon(t), c, "end", "panic")
	if ended("a panic", err, Failed, Executed); err == nil || !strings.Contains(err.Error(), "handler panicked: oh") {
		t.Errorf("a panic says %v", err)
	}
	_, err = Call[int](soon(t), c, "end", "truncated")
	if ended("a reason", err, Failed, Executed); !errors.Is(err, Reason("truncated")) {
		t.Errorf("a reason is %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Call[int](gone, c, "end", "")
	ended("what is cancelled before", err, Canceled, NotExecuted)
	ctx, cancel := context.WithCancel(soon(t))
	f := Spawn[int](ctx, c, "end", "heed")
	awaitRun(t, c, "heed")
	cancel()
	_, err = f.Get(soon(t))
	ended("what is cancelled while it runs", err, Canceled, Executed)
	ctx, cancel = context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	if _, err = Call[int](ctx, c, "end", "heed"); !errors.Is(err, DeadlineExceeded) { // whether it has run by then is the machine's to say
		t.Errorf("what takes too long ends with %v", err)
	}
	if err := CallInto(soon(t), c, "end", "one way", nil, OneWay); err != nil {
		t.Errorf("one way: %v", err)
	}
	awaitRun(t, c, "one way")
	st, err := OpenStream[int, int](soon(t), c, "tally", 40)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := st.Send(soon(t), 1); err != nil {
			t.Fatal(err)
		}
		if n, err := st.Recv(soon(t)); n != 41+i || err != nil {
			t.Fatalf("item %d is %d, %v", i, n, err)
		}
	}
	if err := st.CloseSend(soon(t)); err != nil {
		t.Error(err)
	}
	if _, err := st.Recv(soon(t)); !errors.Is(err, io.EOF) {
		t.Errorf("the end of a stream is %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// awaitRun waits until a call has begun.
func awaitRun(t *testing.T, c Caller, how string) {
	t.Helper()
	for ctx := soon(t); ; {
		if has, err := Call[bool](ctx, c, "has begun", how); err != nil {
			t.Fatalf("%s has not begun: %v", how, err)
		} else if has {
			return
		}
	}
}

// handleEnds registers what suiteOfEnds calls.
func handleEnds(s *Server) {
	var begun sync.Map
	Handle(s, "end", func(ctx context.Context, how string) (int, error) {
		begun.Store(how, true)
		switch how {
		case "panic":
			panic("oh")
		case "truncated":
			return 0, Fail("truncated", nil, "as asked")
		case "heed":
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 0, nil
	})
	Handle(s, "has begun", func(_ context.Context, how string) (bool, error) {
		_, has := begun.Load(how)
		return has, nil
	})
	HandleStream(s, "tally", sum)
}

// suiteOfBlobs is the program of the text, and a handle that goes on.
func suiteOfBlobs(t *testing.T, c *Client) {
	t.Helper()
	b, err := c.AllocateBlob(soon(t), 128<<10)
	if err != nil {
		t.Fatal(err)
	}
	data := fill(128 << 10)
	if _, err := b.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	n, err := Call[int](soon(t), c, "snprintf", printArgs{b.InOut(), b.Sizeof(), "The answer is %d", []any{42}})
	if err != nil || n != 16 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	got := make([]byte, len(data))
	if _, err := b.ReadAt(got, 0); err != nil || string(got[:16]) != "The answer is 42" || !bytes.Equal(got[16:], data[16:]) {
		t.Errorf("it reads %q…, %v", got[:16], err)
	}
	out := c.ResultBlob(1 << 20)
	arg := out.Out()
	if n, err := Call[int](soon(t), c, "shout", twoBlobs{b.In(), &arg}); err != nil || n != len(data) || out.Sizeof() != n {
		t.Errorf("%d bytes were made, %v", n, err)
	}
	if err := errors.Join(b.Free(), out.Free()); err != nil {
		t.Error(err)
	}
}

// open starts a server that is called by a way.
func (w *way) open(t *testing.T) (_ Caller, peers func() []client.PeerWay) {
	t.Helper()
	so, co := ServerOptions{}, w.client
	if w.mover {
		so.Blobs.Host, co.FarBlobs.Mover = w.devices(t)
	}
	if co.BlobThreshold == 0 {
		co.BlobThreshold, co.FarThreshold = LongBlob, LongBlob
	}
	if w.network == "tls" {
		so.TLS, co.TLS = certs.NewAuthority(t).TLS("server")
	}
	s, err := NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	handleBlobs(s)
	handleEnds(s)
	if w.network == "" {
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s.Local(), nil
	}
	address := "127.0.0.1:0"
	if w.network == "unix" {
		address = "unix:" + filepath.Join(t.TempDir(), "s")
	}
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if w.network != "unix" {
		address = l.Addr().String()
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Dial(co, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return c, c.Peers
}

// devices are a host of blobs with a device of the fake, and a client's mover with another.
func (*way) devices(t *testing.T) (*local.Host, remote.Mover) {
	t.Helper()
	fabric := fakeverbs.New()
	adapter := func(name, address string) *rdma.Adapter {
		gid := verbs.GID(netip.MustParseAddr(address).As16())
		fabric.Add(name, gid)
		a, err := rdma.Open(rdma.Options{Driver: fabric, Device: name, Spin: -1, Locate: func() (rdma.Place, error) { return rdma.Place{Port: 1, GID: gid}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ours, theirs := adapter("client", "192.0.2.2"), adapter("server", "192.0.2.1")
	m := mover.New(theirs, nil)
	h, err := local.New(local.Options{Options: shm.Options{LetGo: m.LetGo, Logger: slog.New(slog.DiscardHandler)}, Far: remote.ServerOptions{Mover: m}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.Close(), theirs.Close(), ours.Close()); err != nil {
			t.Error(err)
		}
		if v := fabric.Violations(); len(v) > 0 {
			t.Errorf("a device has done what it must not: %q", v)
		}
	})
	return h, mover.New(ours, nil)
}
