package rpc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"rpcpool.dev/rpc/blob/shm"
)

// starve takes the descriptors of this process, but for those that it has, or lets it have more again. It returns
// how many it has.
func starve(_ context.Context, starved bool) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if starved && err == nil {
		limit.Cur = 3
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	return len(fds), err
}

// starved does something while this process has no descriptors.
func starved(t *testing.T, do func()) {
	t.Helper()
	before, err := starve(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	do()
	after, err := starve(t.Context(), false)
	if err != nil || after > before {
		t.Errorf("%d descriptors are open, before it were %d, %v", after, before, err)
	}
}

// longCalls makes calls whose arguments and results are long.
func longCalls(t *testing.T, r *blobRig) {
	t.Helper()
	for n := 1 << 20; n < 1<<20+3; n++ {
		data := fill(n)
		if got, err := Call[[]byte](soon(t), r, "echo", data); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
		}
		if got, err := Call[uint64](soon(t), r, "sum", data); err != nil || got != checksum(data) {
			t.Errorf("%d bytes: their sum is %d, %v", n, got, err)
		}
		if d, err := Call[document](soon(t), r, "document", document{"name", data}); err != nil || !bytes.Equal(d.Data, bytes.ToUpper(data)) {
			t.Errorf("%d bytes in a struct came back as %d, %v", n, len(d.Data), err)
		}
		b, err := r.CallBlob(soon(t), "make", n)
		if err != nil || !bytes.Equal(b.Bytes(), data) {
			t.Fatalf("%d bytes that were made: %v", n, err)
		}
		if err := b.Free(); err != nil {
			t.Error(err)
		}
	}
}

// TestAWorkerWithoutDescriptorsIsCalled: what it cannot map is copied to it, and its results come in messages. What
// it was to write it refuses, and has not run. It is the same worker all the time.
func TestAWorkerWithoutDescriptorsIsCalled(t *testing.T) {
	r := isolatedRig(t, ServerOptions{}, ClientOptions{})
	kept := r.buffer(t, "0123456789")
	before, err := Call[int](soon(t), r, "starve", true)
	if err != nil {
		t.Fatal(err)
	}
	longCalls(t, r)
	if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: kept.In()}); n != 10 || err != nil {
		t.Errorf("a blob that it reads: %d, %v", n, err)
	}
	_, err = Call[int](soon(t), r, "spoil", printArgs{Buffer: kept.InOut()})
	if !errors.Is(err, Refused) || !errors.Is(err, NotExecuted) || !strings.Contains(err.Error(), "cannot be mapped") || string(kept.Bytes()) != "0123456789" {
		t.Errorf("a blob that it was to write is %q: %v", kept.Bytes(), err)
	}
	after, err := Call[int](soon(t), r, "starve", false)
	if err != nil || after > before {
		t.Errorf("it has %d descriptors, and had %d, %v", after, before, err)
	}
	if n, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: kept.InOut()}); n != 1 || err != nil || string(kept.Bytes()) != "spoiled789" {
		t.Errorf("when it has some again, %q: %d, %v", kept.Bytes(), n, err)
	}
	if w, _ := r.server.Workers(); w.Starts > 2 || w.Crashed > 0 {
		t.Errorf("workers were replaced: %+v", w)
	}
	if s, _ := r.server.Blobs(); s.Refused.Unmapped == 0 {
		t.Errorf("nobody is told: %+v", s.Refused)
	}
	if err := kept.Free(); err != nil {
		t.Error(err)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAHostWithoutDescriptorsIsCalled: it makes no memory, so what is long goes in messages, and what there was stays.
func TestAHostWithoutDescriptorsIsCalled(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	kept := r.buffer(t, "0123456789")
	starved(t, func() { longCalls(t, r) })
	s, _ := r.server.Blobs()
	if s.Refused.Memory == 0 {
		t.Errorf("nobody is told: %+v", s.Refused)
	}
	if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: kept.InOut()}); n != 10 || err != nil {
		t.Errorf("what the client had: %d, %v", n, err)
	}
	if err := kept.Free(); err != nil {
		t.Error(err)
	}
	longCalls(t, r)
	if then, _ := r.server.Blobs(); then.Refused.Memory > s.Refused.Memory || then.Made == s.Made {
		t.Errorf("it makes no blobs any more: %+v", then)
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAClientWithoutDescriptorsCalls: its arguments go in messages, and results that it cannot map are copied to it.
func TestAClientWithoutDescriptorsCalls(t *testing.T) {
	s := startServer(t, "unix:"+t.TempDir()+"/s")
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, s.address)
	if err != nil {
		t.Fatal(err)
	}
	r := &blobRig{Client: c}
	kept := r.buffer(t, "hello")
	starved(t, func() {
		longCalls(t, r)
		if _, err := r.AllocateBlob(soon(t), 64<<20); !errors.Is(err, shm.ErrUnmapped) {
			t.Errorf("allocated: %v", err)
		}
		out := r.ResultBlob(1 << 20)
		arg := out.Out()
		if n, err := Call[int](soon(t), r, "shout", twoBlobs{kept.In(), &arg}); err != nil || n != 5 || string(out.Bytes()) != "HELLO" {
			t.Errorf("%d, %q, %v", n, out.Bytes(), err)
		}
		if err := out.Free(); err != nil {
			t.Error(err)
		}
	})
	longCalls(t, r)
	if err := kept.Free(); err != nil {
		t.Errorf("what it had before: %v", err)
	}
	if unmapped := s.rest(); unmapped == 0 {
		t.Error("the server has not told that a client cannot map memory")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
