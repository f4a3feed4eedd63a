package rpc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// placeOf is where bytes are: in which blob's memory, wherever that is mapped, or at which address of this process.
func placeOf(t testing.TB, b []byte) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	at, err := strconv.ParseUint(fmt.Sprintf("%p", b), 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		var from, to, offset, inode uint64
		var rights, device string
		if _, err := fmt.Sscanf(s.Text(), "%x-%x %s %x %s %d", &from, &to, &rights, &offset, &device, &inode); err != nil {
			t.Fatal(err)
		}
		if from <= at && at < to && strings.Contains(s.Text(), "memfd:rpcpool-blobs") {
			return fmt.Sprintf("blob %d+%d", inode, at-from+offset)
		}
	}
	return fmt.Sprintf("address %x", at)
}

// noted is where a handler has had bytes last.
type noted struct {
	mu    sync.Mutex
	place string
}

func (n *noted) set(place string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.place = place
}

func (n *noted) get() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.place
}

// TestS1_29_CopiesAreCounted by where the bytes are that caller and handler have: where that is the same memory nothing
// was copied, and where one is a blob and the other is not, once.
func TestS1_29_CopiesAreCounted(t *testing.T) {
	const n = 1 << 20
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	var argument, result noted
	Handle(r.server, "place", func(_ context.Context, b []byte) (int, error) {
		argument.set(placeOf(t, b))
		return len(b), nil
	})
	Handle(r.server, "place of blob", func(_ context.Context, a printArgs) (int, error) {
		argument.set(placeOf(t, a.Buffer.Bytes()))
		return len(a.Buffer.Bytes()), nil
	})
	Handle(r.server, "place of result", func(ctx context.Context, n int) ([]byte, error) {
		b := Room(ctx, n)
		result.set(placeOf(t, b))
		return b, nil
	})
	data := fill(n)
	local := r.server.Local()
	if _, err := Call[int](soon(t), local, "place", data); err != nil || argument.get() != placeOf(t, data) {
		t.Errorf("in one process, bytes at %s are handled at %s, %v", placeOf(t, data), argument.get(), err)
	}
	if _, err := Call[int](soon(t), r, "place", data); err != nil || !strings.HasPrefix(argument.get(), "blob ") {
		t.Errorf("the handler has the bytes at %s, %v: the one copy was to be into a blob", argument.get(), err)
	}
	b, err := r.AllocateBlob(soon(t), n)
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]BlobArg{"in": b.In(), "inout": b.InOut()} {
		if _, err := Call[int](soon(t), r, "place of blob", printArgs{Buffer: a}); err != nil || argument.get() != placeOf(t, b.Bytes()) {
			t.Errorf("%s: the caller has the bytes at %s, the handler at %s, %v", name, placeOf(t, b.Bytes()), argument.get(), err)
		}
	}
	if _, err := Call[[]byte](soon(t), r, "make", n); err != nil { // so that it joins
		t.Fatal(err)
	}
	made, err := r.CallBlob(soon(t), "place of result", n)
	if err != nil || result.get() != placeOf(t, made.Bytes()) || !strings.HasPrefix(result.get(), "blob ") {
		t.Errorf("the handler has made the result at %s, the caller has it at %s, %v", result.get(), placeOf(t, made.Bytes()), err)
	}
	if err := made.Free(); err != nil {
		t.Error(err)
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
}

// switches is how often threads of this process have been switched.
func switches(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Nvcsw + u.Nivcsw
}

// BenchmarkS1_29 is a call of 64 bytes there and back, one after the other, beside the same bytes over a bare socket
// of that kind in the same run: time, allocations and context switches, of both sides together.
func BenchmarkS1_29(b *testing.B) {
	measure := func(b *testing.B, do func() error) {
		b.Helper()
		b.ReportAllocs()
		before := switches(b)
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(switches(b)-before)/float64(b.N), "switches/op")
	}
	data := fill(64)
	for _, network := range []string{"unix", "tcp"} {
		b.Run(network+"/call", func(b *testing.B) {
			rig := newBlobRig
			if network == "tcp" {
				rig = newFarRig
			}
			r := rig(b, ServerOptions{}, ClientOptions{})
			measure(b, func() error {
				_, err := Call[[]byte](b.Context(), r, "echo", data)
				return err
			})
		})
		b.Run(network+"/socket", func(b *testing.B) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = b.TempDir() + "/s"
			}
			l, err := new(net.ListenConfig).Listen(b.Context(), network, address)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
					_ = c.Close()
				}
			}()
			c, err := new(net.Dialer).DialContext(b.Context(), network, l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			reply := make([]byte, len(data))
			measure(b, func() error {
				if _, err := c.Write(data); err != nil {
					return err
				}
				_, err := io.ReadFull(c, reply)
				return err
			})
		})
	}
}
