package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/workers"
)

// isolatedRig has handlers in workers.
func isolatedRig(t testing.TB, so ServerOptions, co ClientOptions) *blobRig {
	so.Isolate = &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}
	return newBlobRig(t, so, co)
}

// buffer allocates a blob with these bytes.
func (r *blobRig) buffer(t testing.TB, text string) *Blob {
	t.Helper()
	b, err := r.AllocateBlob(soon(t), uint64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), text)
	return b
}

// TestC27_AWorkerCrashesWhileItWritesABlob: what it wrote is not to be used before its owner says so,
// and the call is not run again although it may be; with a snapshot, nothing has happened.
func TestC27_AWorkerCrashesWhileItWritesABlob(t *testing.T) {
	r := isolatedRig(t, ServerOptions{}, ClientOptions{})
	plain, kept := r.buffer(t, "as it was"), r.buffer(t, "as it was")
	for name, c := range map[string]struct {
		arg  BlobArg
		of   *Blob
		want string
		runs int
	}{
		"inout":    {plain.InOut(), plain, "spoiledas", 1},
		"snapshot": {kept.Snapshot(), kept, "as it was", 3},
	} {
		_, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: c.arg, Format: "crash"}, Idempotent)
		if !errors.Is(err, Crashed) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "inout" {
			if _, err = Call[int](soon(t), r, "spoil", printArgs{Buffer: c.of.InOut()}); !errors.Is(err, Invalid) || !strings.Contains(err.Error(), "half written") {
				t.Errorf("a blob that is half written was used: %v", err)
			}
			if err := c.of.Accept(soon(t)); err != nil {
				t.Error(err)
			}
		} else if !bytes.Equal(c.of.Bytes(), []byte(c.want)) {
			t.Errorf("%s: %q, want %q", name, c.of.Bytes(), c.want)
		}
		if _, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: c.of.InOut()}); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
	if status, _ := r.server.Workers(); status.Crashed != 1+3 {
		t.Errorf("%d runs crashed, want 1 of what may be dirty and 3 of what is not", status.Crashed)
	}
	if err := errors.Join(plain.Free(), kept.Free()); err != nil {
		t.Error(err)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAFailedCallChangesNothingOfASnapshot: an error of the handler undoes what it wrote.
func TestAFailedCallChangesNothingOfASnapshot(t *testing.T) {
	withBlobs(t, func(t *testing.T, r *blobRig) {
		b := r.buffer(t, "as it was")
		if _, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: b.Snapshot(), Format: "fail"}); !errors.Is(err, Failed) || string(b.Bytes()) != "as it was" {
			t.Errorf("%q, %v", b.Bytes(), err)
		}
		if _, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: b.InOut(), Format: "fail"}); !errors.Is(err, Failed) || string(b.Bytes()) != "spoiledas" {
			t.Errorf("%q, %v", b.Bytes(), err)
		}
	})
}

// TestWhoWritesABlobIsAlone: another call with it is refused, and has not run.
func TestWhoWritesABlobIsAlone(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	b := r.buffer(t, "one at a time")
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	first := Spawn[int](ctx, r, "sleep", printArgs{Buffer: b.InOut(), Size: 10_000_000})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if s, _ := r.server.Blobs(); s.Calls == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the first call does not run")
		}
	}
	_, err := Call[int](soon(t), r, "sleep", printArgs{Buffer: b.In()})
	if !errors.Is(err, Refused) || !errors.Is(err, NotExecuted) {
		t.Errorf("%v", err)
	}
	cancel()
	if _, err := first.Get(soon(t)); err == nil {
		t.Error("it was not cancelled")
	}
	if n, err := Call[int](soon(t), r, "sleep", printArgs{Buffer: b.In()}); n != b.Sizeof() || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

// TestAClientHasNoMoreThanItsLimit: what needs no blob goes in messages then.
func TestAClientHasNoMoreThanItsLimit(t *testing.T) {
	o := ServerOptions{Blobs: BlobOptions{Limits: blob.Limits{PartyBytes: 1 << 20}}}
	r := newBlobRig(t, o, ClientOptions{})
	if _, err := r.AllocateBlob(soon(t), 2<<20); !errors.Is(err, blob.ErrQuota) {
		t.Errorf("%v", err)
	}
	data := fill(4 << 20)
	for range 2 {
		if got, err := Call[[]byte](soon(t), r, "echo", data); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestPeersWithoutBlobsGetBytes: of a client, a server or both that have none.
func TestPeersWithoutBlobsGetBytes(t *testing.T) {
	data := fill(1 << 20)
	for name, o := range map[string]struct {
		server ServerOptions
		client ClientOptions
	}{
		"a client": {ServerOptions{}, ClientOptions{BlobThreshold: -1}},
		"a server": {ServerOptions{Blobs: BlobOptions{Off: true}}, ClientOptions{}},
	} {
		r := newBlobRig(t, o.server, o.client)
		for range 2 {
			if got, err := Call[[]byte](soon(t), r, "echo", data); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		if _, err := r.AllocateBlob(soon(t), 64); !errors.Is(err, ErrNoBlobs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAResultThatNobodyWantsIsFreed: its caller has given up before it came.
func TestAResultThatNobodyWantsIsFreed(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	Handle(r.server, "late", func(_ context.Context, d time.Duration) ([]byte, error) {
		time.Sleep(d)
		return fill(1 << 20), nil
	})
	if _, err := Call[[]byte](soon(t), r, "echo", fill(1<<20)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, _ = Call[[]byte](ctx, r, "late", time.Duration(i)*time.Millisecond)
		})
	}
	all.Wait()
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAResultBesideOneThatIsTooLongIsFreed: a reply that the client does not take has named it.
func TestAResultBesideOneThatIsTooLongIsFreed(t *testing.T) {
	const longest = 256 << 10
	r := newBlobRig(t, ServerOptions{}, ClientOptions{
		BlobThreshold: 4 * longest, Conn: conn.Options{MaxFrame: LongBlob, MaxMessage: longest},
	})
	Handle(r.server, "both", func(_ context.Context, a twoBlobs) ([]byte, error) {
		a.Out.SetLen(copy(a.Out.Bytes(), a.In.Bytes()))
		return fill(2 * longest), nil
	})
	in := r.buffer(t, "hello")
	out := r.ResultBlob(10).Out()
	_, err := Call[[]byte](soon(t), r, "both", twoBlobs{in.In(), &out})
	if !errors.Is(err, ReplyLost) {
		t.Errorf("error is %v, want %v", err, ReplyLost)
	}
	if err := in.Free(); err != nil {
		t.Error(err)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestTheServersBlobsDieWithIt: the client finds the next server's.
func TestTheServersBlobsDieWithIt(t *testing.T) {
	address := "unix:" + t.TempDir() + "/s"
	c, err := Dial(ClientOptions{}, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for life := range 3 {
		s, stop := servesBlobs(t, address)
		for range 3 {
			if got, err := Call[[]byte](soon(t), c, "echo", fill(1<<20), Idempotent, WaitForReady); err != nil || len(got) != 1<<20 {
				t.Errorf("life %d: %d bytes, %v", life, len(got), err)
			}
		}
		if n, _ := s.Blobs(); n.Bytes == 0 {
			t.Errorf("life %d: no blob was made", life)
		}
		stop()
	}
}

// servesBlobs serves at an address until it is stopped.
func servesBlobs(t *testing.T, address string) (s *Server, stop func()) {
	t.Helper()
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	handleBlobs(s)
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return s, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}
}

// TestPoisonIsKnownByWhatIsInTheBlob: the same bytes kill three workers, and no fourth; others run.
func TestPoisonIsKnownByWhatIsInTheBlob(t *testing.T) {
	r := isolatedRig(t, ServerOptions{}, ClientOptions{})
	poison := append([]byte("die"), fill(LongBlob)...)
	for i := range 5 {
		_, err := Call[int](soon(t), r, "die", poison)
		if want := []Code{Crashed, Crashed, Crashed, Poisoned, Poisoned}[i]; !errors.Is(err, want) {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	if n, err := Call[int](soon(t), r, "die", fill(LongBlob)); n != LongBlob || err != nil {
		t.Errorf("other bytes: %d, %v", n, err)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAWorkerThatHasLostItsBlobsIsReplacedInOrder: its host has given it up, and it lives. What runs in it ends there,
// and calls with blobs run in the next one.
func TestAWorkerThatHasLostItsBlobsIsReplacedInOrder(t *testing.T) {
	r := newBlobRig(t, ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard, Concurrency: 2}}, ClientOptions{})
	state := func(wanted workers.State) func() bool {
		return func() bool {
			w, _ := r.server.Workers()
			return slices.Contains(w.States, wanted)
		}
	}
	until(t, "there is a spare, so both are parties", state(workers.Spare))
	until(t, "the other serves", state(workers.Ready))
	kept := r.buffer(t, "0123456789")
	runs := Spawn[int](soon(t), r, "sleep", printArgs{Size: 700})
	until(t, "a call runs", state(workers.Busy))
	host := r.server.blobs.host
	before := host.Counts().Parties
	for _, id := range []blob.PartyID{2, 3} { // the first is the server itself, the last the client
		host.Leave(id)
	}
	if n := before - host.Counts().Parties; n != 2 {
		t.Fatalf("%d workers were given up", n)
	}
	if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: kept.In()}); n != 10 || err != nil {
		t.Errorf("a call with a blob: %d, %v", n, err)
	}
	if n, err := Call[uint64](soon(t), r, "sum", fill(1<<20)); n != checksum(fill(1<<20)) || err != nil {
		t.Errorf("a call whose arguments are in one: %d, %v", n, err)
	}
	if _, err := runs.Get(soon(t)); err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	until(t, "both are replaced", func() bool {
		w, _ := r.server.Workers()
		return w.Starts >= 4
	})
	if w, _ := r.server.Workers(); w.Crashed > 0 {
		t.Errorf("%+v", w)
	}
	if err := kept.Free(); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for ctx := soon(t); !so(); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("it is not so that %s", what)
		}
	}
}
