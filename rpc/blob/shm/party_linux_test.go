package shm

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// TestAPartyWithoutMemory writes a blob for a party of another machine; a peer of this
// one reads it, and the other way round.
func TestAPartyWithoutMemory(t *testing.T) {
	h := newHost(t, Options{Idle: time.Millisecond})
	far, err := h.Join("far")
	if err != nil {
		t.Fatal(err)
	}
	near := connect(t, h, "near")
	b, err := far.Allocate(10, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	w, err := far.Borrow(b, blob.InOut)
	if err != nil {
		t.Fatal(err)
	}
	copy(w.Bytes, "from afar!")
	shared, err := far.Share(b, 0, 10, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Open(shared, blob.In, 0); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("read while it is written: %v", err)
	}
	w.Release()
	w.Release() // again is nothing
	v, err := near.Open(shared, blob.In, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(v.Bytes()); got != "from afar!" {
		t.Errorf("near reads %q", got)
	}
	theirs, handle := sharedBlob(t, near, 100)
	theirs.Bytes()[42] = 42
	part, err := far.Slice(handle, 40, 10, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	r, err := far.Borrow(part, blob.In)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	file := make([]byte, 10) // as sendfile sees it
	if _, err := unix.Pread(int(r.File.Fd()), file, r.Offset); err != nil || r.Bytes[2] != 42 || file[2] != 42 || len(r.Bytes) != 10 {
		t.Errorf("far reads % x, % x, %v", r.Bytes, file, err)
	}
	if err := errors.Join(far.Free(b), v.Close()); err != nil {
		t.Error(err)
	}
	if err := far.Free(handle); !errors.Is(err, blob.ErrRights) {
		t.Errorf("frees what is of another: %v", err)
	}
}

// TestBorrowedBytesOutliveTheirPartyAndItsHost: who moves them cannot be stopped at once.
func TestBorrowedBytesOutliveTheirPartyAndItsHost(t *testing.T) {
	h := newHost(t, Options{Idle: time.Nanosecond})
	far, err := h.Join("far")
	if err != nil {
		t.Fatal(err)
	}
	b, err := far.Allocate(1<<20, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	r, err := far.Borrow(b, blob.InOut)
	if err != nil {
		t.Fatal(err)
	}
	far.Leave()
	other, err := h.Join("other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Allocate(1<<20, blob.Read); err != nil { // not in the same place
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- h.Close() }()
	within(t, soon, "the host is being closed", func() bool {
		_, err := h.Join("late")
		return errors.Is(err, ErrClosed)
	})
	for i := range r.Bytes {
		r.Bytes[i] = 1
	}
	select {
	case err := <-closed:
		t.Errorf("closed under whoever writes: %v", err)
	default:
	}
	r.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
