package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"rpcpool.dev/rpc/blob"
)

// relayArgs are those of a handler that passes a blob on.
type relayArgs struct {
	Server   string // address, of the calls that the handler makes
	Far      bool   // as if that was on another machine
	Blob     BlobArg
	Handle   blob.Handle // in place of Blob
	From, To int
	Change   bool
}

// handleHandles registers what the tests of handles call.
func handleHandles(s *Server) {
	Handle(s, "text", func(_ context.Context, a printArgs) (string, error) { return string(a.Buffer.Bytes()), nil })
	Handle(s, "upper", func(_ context.Context, a printArgs) (string, error) {
		copy(a.Buffer.Bytes(), bytes.ToUpper(a.Buffer.Bytes()))
		return string(a.Buffer.Bytes()), nil
	})
	Handle(s, "relay", func(ctx context.Context, a relayArgs) (string, error) {
		c, err := Dial(ClientOptions{NoSharedMemory: a.Far}, a.Server)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Close() }()
		h, rights, method, as := a.Handle, blob.Read, "text", c.BlobIn
		if h == (blob.Handle{}) {
			h = a.Blob.Handle()
		}
		if a.Change {
			rights, method, as = blob.Read|blob.Write, "upper", c.BlobInOut
		}
		part, err := c.SliceBlob(ctx, h, uint64(a.From), uint64(a.To-a.From), rights)
		if err != nil {
			return "", err
		}
		return Call[string](ctx, c, method, printArgs{Buffer: as(part)})
	})
}

// withHandles runs a test where all are on one machine, and where they are not.
func withHandles(t *testing.T, test func(t *testing.T, r *blobRig, far bool)) {
	workers := func() ServerOptions {
		return ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Concurrency: 2, Output: io.Discard}}
	}
	t.Run("shared memory, workers", func(t *testing.T) { test(t, newBlobRig(t, workers(), ClientOptions{}), false) })
	t.Run("shared memory, in a process", func(t *testing.T) { test(t, newBlobRig(t, ServerOptions{}, ClientOptions{}), false) })
	t.Run("elsewhere, in a process", func(t *testing.T) { test(t, newFarRig(t, ServerOptions{}, ClientOptions{}), true) })
}

// another is one more client of a rig's server.
func (r *blobRig) another(t *testing.T, far bool) *Client {
	t.Helper()
	c, err := Dial(ClientOptions{NoSharedMemory: far}, r.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestC15_AHandleGoesFromHandToHand: A lends B a part of a blob; B gives C a part of that.
func TestC15_AHandleGoesFromHandToHand(t *testing.T) {
	withHandles(t, func(t *testing.T, r *blobRig, far bool) {
		b, err := r.PutBlob(soon(t), 16, strings.NewReader("0123456789abcdef"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := b.Share(soon(t), 4, 8, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		for name, a := range map[string]relayArgs{
			"as an argument": {Blob: r.BlobIn(h)},
			"as plain data":  {Handle: h},
		} {
			a.Server, a.Far, a.From, a.To = r.address, far, 2, 6
			if got, err := Call[string](soon(t), r, "relay", a); err != nil || got != "6789" {
				t.Errorf("%s: C reads %q, %v", name, got, err)
			}
		}
		mine, err := r.AllocateBlob(soon(t), 10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mine.WriteAt([]byte("abcdefghij"), 0); err != nil {
			t.Fatal(err)
		}
		if h, err = mine.Share(soon(t), 1, 8, blob.Read|blob.Write); err != nil {
			t.Fatal(err)
		}
		got, err := Call[string](soon(t), r, "relay", relayArgs{Server: r.address, Far: far, Handle: h, From: 2, To: 5, Change: true})
		if err != nil || got != "DEF" {
			t.Errorf("C changes %q, %v", got, err)
		}
		all := make([]byte, 10)
		if _, err := mine.ReadAt(all, 0); err != nil || string(all) != "abcDEFghij" {
			t.Errorf("A reads %q, %v", all, err)
		}
		if err := errors.Join(b.Free(), mine.Free()); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// TestC15_RightsOnlyShrink: nobody gets more of a handle than is in it.
func TestC15_RightsOnlyShrink(t *testing.T) {
	withHandles(t, func(t *testing.T, r *blobRig, far bool) {
		b, err := r.AllocateBlob(soon(t), 100)
		if err != nil {
			t.Fatal(err)
		}
		frozen, err := r.PutBlob(soon(t), 3, strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = frozen.Share(soon(t), 0, 3, blob.Read|blob.Write)
		wantErr(t, "share what is to be read only", err, blob.ErrRights)
		_, err = b.Share(soon(t), 90, 11, blob.Read)
		wantErr(t, "share more than there is", err, blob.ErrRange)
		h, err := b.Share(soon(t), 10, 50, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		c := r.another(t, far)
		_, err = c.SliceBlob(soon(t), h, 0, 50, blob.Read|blob.Write)
		wantErr(t, "slice with more rights", err, blob.ErrRights)
		_, err = c.SliceBlob(soon(t), h, 1, 50, blob.Read)
		wantErr(t, "slice with more bytes", err, blob.ErrRange)
		_, err = c.OpenBlob(soon(t), h, blob.InOut)
		wantErr(t, "open to be changed", err, blob.ErrRights)
		for name, widen := range map[string]func(*blob.Handle){
			"rights": func(h *blob.Handle) { h.Rights = blob.Read | blob.Write },
			"range":  func(h *blob.Handle) { h.Offset, h.Length = 0, 100 },
		} {
			forged := h
			widen(&forged)
			_, err = c.SliceBlob(soon(t), forged, 0, 1, blob.Read)
			wantErr(t, "slice with other "+name, err, blob.ErrForged)
			_, err = c.OpenBlob(soon(t), forged, blob.In)
			wantErr(t, "open with other "+name, err, blob.ErrForged)
			_, err = Call[string](soon(t), c, "text", printArgs{Buffer: c.BlobIn(forged)})
			wantRefused(t, "call with other "+name, err, blob.ErrForged)
		}
		_, err = Call[string](soon(t), c, "upper", printArgs{Buffer: c.BlobInOut(h)})
		wantRefused(t, "call to change what is lent to be read", err, blob.ErrRights)
		h.Domain[0]++
		_, err = c.OpenBlob(soon(t), h, blob.In)
		wantErr(t, "open what is of another server", err, blob.ErrDomain)
	})
}

// TestC15_AHandleIsGoodUntilItsBlobIsFreed, and not for the next one of the same id.
func TestC15_AHandleIsGoodUntilItsBlobIsFreed(t *testing.T) {
	withHandles(t, func(t *testing.T, r *blobRig, far bool) {
		c := r.another(t, far)
		b, err := r.PutBlob(soon(t), 5, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := b.Share(soon(t), 0, 5, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Free(); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Fatalf("%d blobs are left", n)
		}
		gone := func() {
			t.Helper()
			_, err = c.SliceBlob(soon(t), h, 0, 1, blob.Read)
			wantErr(t, "slice what is freed", err, blob.ErrGone)
			_, err = c.OpenBlob(soon(t), h, blob.In)
			wantErr(t, "open what is freed", err, blob.ErrGone)
			_, err = Call[string](soon(t), c, "text", printArgs{Buffer: c.BlobIn(h)})
			wantRefused(t, "call with what is freed", err, blob.ErrGone)
		}
		gone()
		next, err := r.PutBlob(soon(t), 5, strings.NewReader("other"))
		if err != nil {
			t.Fatal(err)
		}
		if n := next.blob.Handle(); n.ID != h.ID || n.Generation == h.Generation {
			t.Fatalf("the next blob is %v, after %v", n, h)
		}
		gone()
	})
}

// TestC15_WhatIsOpenIsReadWhileNobodyChangesIt, by another client than its owner.
func TestC15_WhatIsOpenIsReadWhileNobodyChangesIt(t *testing.T) {
	withHandles(t, func(t *testing.T, r *blobRig, far bool) {
		c := r.another(t, far)
		b, err := r.AllocateBlob(soon(t), 8)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.WriteAt([]byte("abcdefgh"), 0); err != nil {
			t.Fatal(err)
		}
		h, err := b.Share(soon(t), 2, 4, blob.Read|blob.Write)
		if err != nil {
			t.Fatal(err)
		}
		o, err := c.OpenBlob(soon(t), h, blob.In)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := o.ReadAt(got, 0); err != nil || string(got) != "cdef" || o.Sizeof() != 4 {
			t.Errorf("it reads %q of %d, %v", got, o.Sizeof(), err)
		}
		if !far && string(o.Bytes()) != "cdef" {
			t.Errorf("its memory is %q", o.Bytes())
		}
		_, err = o.WriteAt([]byte("x"), 0)
		wantErr(t, "write what is open to be read", err, blob.ErrRights)
		wantErr(t, "accept what is another's", o.Accept(soon(t)), blob.ErrRights)
		_, err = c.OpenBlob(soon(t), h, blob.Pin)
		wantErr(t, "open in no way", err, blob.ErrRights)
		if text, err := Call[string](soon(t), c, "text", printArgs{Buffer: o.In()}); err != nil || text != "cdef" {
			t.Errorf("who has it open lends it: %q, %v", text, err)
		}
		if err := errors.Join(o.Free(), o.Free()); err != nil {
			t.Error(err)
		}
		if o, err = c.OpenBlob(soon(t), h, blob.InOut); err != nil {
			t.Fatal(err)
		}
		if _, err := o.WriteAt([]byte("XY"), 1); err != nil {
			t.Error(err)
		}
		_, err = o.WriteAt([]byte("too long"), 1)
		wantErr(t, "write more than it has", err, blob.ErrRange)
		if err := o.Free(); err != nil {
			t.Error(err)
		}
		all := make([]byte, 8)
		if _, err := b.ReadAt(all, 0); err != nil || string(all) != "abcXYfgh" {
			t.Errorf("its owner reads %q, %v", all, err)
		}
		if err := b.Free(); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// wantRefused: a call did not run, and says why.
func wantRefused(t *testing.T, what string, err, want error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Execution != NotExecuted || !strings.Contains(e.Error(), want.Error()) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
