package rpc

import (
	"bytes"
	"errors"
	"runtime/debug"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// TestBytesStayUntilTheyAreFreed, although their server has gone, and the client has given up what it had
// there: a program that looks at them then must not die of it.
func TestBytesStayUntilTheyAreFreed(t *testing.T) {
	address := "unix:" + t.TempDir() + "/s"
	serve := func() (stop func()) {
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
		return func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			<-served
		}
	}
	before, err := mapsOf("memfd:rpcpool")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, address)
	if err != nil {
		t.Fatal(err)
	}
	stop := serve()
	r := blobRig{Client: c}
	kept, made := r.buffer(t, "still there"), (*Blob)(nil)
	for made == nil || made.blob == nil { // the client joins in the background
		if made, err = c.CallBlob(soon(t), "make", 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	stop = serve()
	if got, err := Call[[]byte](soon(t), c, "echo", fill(1<<20), Idempotent, WaitForReady); err != nil || len(got) != 1<<20 {
		t.Fatalf("the next server: %d bytes, %v", len(got), err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	func() {
		defer func() {
			if fault := recover(); fault != nil {
				t.Errorf("what the client has is gone: %v", fault)
			}
		}()
		if !bytes.Equal(kept.Bytes(), []byte("still there")) || !bytes.Equal(made.Bytes(), fill(1<<20)) {
			t.Error("what the client has is something else")
		}
	}()
	for _, b := range []*Blob{kept, made} {
		if err := b.Free(); err == nil {
			t.Error("it was freed at a server that has gone")
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if after, err := mapsOf("memfd:rpcpool"); err != nil || after > before {
		t.Errorf("%d maps are left, before it were %d, %v", after, before, err)
	}
}

// TestAResultOfWhichNobodyKnowsWhetherItIsStillThereIsLost: the memory of a client that its host has given up is
// emptied, so what was copied meanwhile may be zeros.
func TestAResultOfWhichNobodyKnowsWhetherItIsStillThereIsLost(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	for _, gone := range []bool{false, true} {
		var u client.Call
		for u.Outcome.Blobs == 0 { // the client joins in the background
			u = client.Call{Method: "make", Codec: codec.IDCBOR, Args: []byte{0x1a, 0, 2, 0, 0}} // 128 KiB
			if r.c.Do(soon(t), &u); u.Outcome.Code != session.OK {
				t.Fatalf("%+v %s", u.Outcome, u.Text)
			}
			r.c.WantBlobs(u.At, 128<<10)
		}
		made, _, err := blob.ParseArgs(u.Reply, 1)
		if err != nil {
			t.Fatal(err)
		}
		server, party := r.c.Has(made[0].Handle.Domain)
		b, err := party.Take(soon(t), made[0])
		if err != nil {
			t.Fatal(err)
		}
		want := error(nil)
		if gone {
			want = shm.ErrHost
			r.c.DropBlobs(server, party) // as another call does that finds the host gone
		}
		got, err := copyOut(b, nil)
		if !errors.Is(err, want) || !gone && !bytes.HasSuffix(got, fill(128<<10)) {
			t.Errorf("gone: %v: %d bytes, %v", gone, len(got), err)
		}
	}
}
