package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// newFarRig is a server, and a client that shares no memory with it: over TCP, as if it were on
// another machine.
func newFarRig(t testing.TB, so ServerOptions, co ClientOptions) *blobRig {
	t.Helper()
	co.NoSharedMemory = true
	s, err := NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	handleBlobs(s)
	l, err := s.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Dial(co, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return &blobRig{c, s, l.Addr().String()}
}

func withFarBlobs(t *testing.T, test func(t *testing.T, r *blobRig)) {
	for name, o := range map[string]ServerOptions{
		"in a worker":  {Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}},
		"in a process": {},
	} {
		t.Run(name, func(t *testing.T) { test(t, newFarRig(t, o, ClientOptions{})) })
	}
}

// TestS2_18_ABlobOfAnotherMachineIsAnArgument: the program of the source text, as with shared
// memory, but for where the bytes are.
func TestS2_18_ABlobOfAnotherMachineIsAnArgument(t *testing.T) {
	withFarBlobs(t, func(t *testing.T, r *blobRig) {
		buffer, err := r.AllocateBlob(soon(t), 64)
		if err != nil {
			t.Fatal(err)
		}
		if buffer.Bytes() != nil || buffer.Sizeof() != 64 {
			t.Errorf("memory of another machine is here: %d bytes of %d", len(buffer.Bytes()), buffer.Sizeof())
		}
		n, err := Call[int](soon(t), r, "snprintf", printArgs{buffer.InOut(), buffer.Sizeof(), "The answer is %d", []any{42}})
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, n)
		if _, err := buffer.ReadAt(text, 0); err != nil || string(text) != "The answer is 42" {
			t.Errorf("it reads %q, %v", text, err)
		}
		if _, err := buffer.WriteAt([]byte("What?"), 0); err != nil {
			t.Error(err)
		}
		loud := r.ResultBlob(100)
		out := loud.Out()
		if n, err = Call[int](soon(t), r, "shout", twoBlobs{buffer.In(), &out}); err != nil {
			t.Fatal(err)
		}
		all := make([]byte, n)
		if _, err := loud.ReadAt(all, 0); err != nil || !bytes.HasPrefix(all, []byte("WHAT?NSWER")) {
			t.Errorf("the result is %q, %v", all, err)
		}
		if err := errors.Join(buffer.Free(), loud.Free()); err != nil {
			t.Error(err)
		}
		if n := r.live(t); n > 0 {
			t.Errorf("%d blobs are left", n)
		}
	})
}

// TestLongArgumentsAndResultsOfAnotherMachine come whole, by messages or by blobs, whichever
// is quicker.
func TestLongArgumentsAndResultsOfAnotherMachine(t *testing.T) {
	for name, c := range map[string]struct {
		isolate *Isolate
		long    int
	}{
		"handlers in the server's process": {nil, FarBlob},
		"handlers in workers":              {&Isolate{Command: []string{os.Args[0]}, Output: io.Discard}, FarWorkerBlob},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFarRig(t, ServerOptions{Isolate: c.isolate}, ClientOptions{})
			for _, n := range []int{LongBlob - 1, LongBlob, c.long - 1, c.long, c.long + 1} {
				before := r.server.BlobsMoved().Conn
				for range 2 { // the second time the result may be a blob, too
					got, err := Call[[]byte](soon(t), r, "echo", fill(n))
					if err != nil || !bytes.Equal(got, fill(n)) {
						t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
					}
				}
				if past := r.server.BlobsMoved().Conn > before; past != (n >= c.long) {
					t.Errorf("%d bytes went by blobs: %v", n, past)
				}
			}
			if n := r.live(t); n > 0 {
				t.Errorf("%d blobs are left", n)
			}
		})
	}
}

// TestACrashLeavesABlobOfAnotherMachineDirty, and nothing else.
func TestACrashLeavesABlobOfAnotherMachineDirty(t *testing.T) {
	r := newFarRig(t, ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}}, ClientOptions{})
	b, err := r.PutBlob(soon(t), 5, bytes.NewReader([]byte("whole")))
	if err != nil {
		t.Fatal(err)
	}
	mine, err := r.AllocateBlob(soon(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Call[int](soon(t), r, "spoil", printArgs{Buffer: mine.InOut(), Format: "crash"}); err == nil {
		t.Fatal("a crash succeeds")
	}
	got := make([]byte, 5)
	if _, err := mine.ReadAt(got, 0); !errors.Is(err, blob.ErrDirty) {
		t.Errorf("what is half written is read: %v", err)
	}
	if err := mine.Accept(soon(t)); err != nil {
		t.Error(err)
	}
	if _, err := mine.ReadAt(got, 0); err != nil {
		t.Error(err)
	}
	if _, err := b.ReadAt(got, 0); err != nil || string(got) != "whole" {
		t.Errorf("another blob is %q, %v", got, err)
	}
}

// cpuOfProcess is what this process has used, ns.
func cpuOfProcess(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkFarCalls calls with long arguments, or for long results, over TCP: with all bytes in
// messages, and by blobs.
func BenchmarkFarCalls(b *testing.B) {
	for _, where := range []string{"process", "worker"} {
		so := ServerOptions{}
		if where == "worker" {
			so.Isolate = &Isolate{Command: []string{os.Args[0]}, Output: io.Discard}
		}
		for way, threshold := range map[string]int{"message": -1, "blob": 1} {
			r := newFarRig(b, so, ClientOptions{BlobThreshold: threshold, FarThreshold: 1})
			for _, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20} {
				data := fill(n)
				for method, call := range map[string]func() error{
					"argument": func() error { _, err := Call[int](b.Context(), r, "length", data); return err },
					"result":   func() error { _, err := Call[[]byte](b.Context(), r, "make", n); return err },
				} {
					if err := call(); err != nil {
						b.Fatal(err)
					}
					b.Run(fmt.Sprintf("%s/%s/%dKiB/%s", where, method, n>>10, way), func(b *testing.B) {
						b.SetBytes(int64(n))
						time.Sleep(10 * time.Millisecond) // what was wanted in the background is there
						before := cpuOfProcess(b)
						for b.Loop() {
							if err := call(); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(float64(cpuOfProcess(b)-before)/float64(b.N)/1e3, "cpu-us/op") // without that of workers
					})
				}
			}
		}
	}
}
