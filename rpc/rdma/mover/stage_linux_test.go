package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/fakeverbs"
)

// lines are the two ends of one, a client's and a server's, whose memory is a segment.
type lines struct {
	rig            *rig
	client, server *machine
	here, there    remote.Line
	segment        []byte
}

func newLines(t *testing.T) *lines {
	t.Helper()
	r := newRig(t)
	l := &lines{rig: r, client: r.machine("client", "192.0.2.2"), server: r.machine("other", "192.0.2.3")}
	var err error
	if l.segment, err = newMemory(1 << 20); err != nil {
		t.Fatal(err)
	}
	l.connect(t)
	t.Cleanup(func() {
		for _, m := range []*machine{l.client, l.server} {
			if err := m.adapter.Close(); err != nil && !errors.Is(err, rdma.ErrStuck) {
				t.Error(err)
			}
		}
		if err := freeMemory(l.segment); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lines) connect(t *testing.T) {
	t.Helper()
	here, err := l.client.mover.Line()
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.server.mover.Line()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(here.Connect(there.Offer()), there.Connect(here.Offer())); err != nil {
		t.Fatal(err)
	}
	l.here, l.there = here, there
}

// put has the server pull bytes, and get the client, which wants n of them.
func (l *lines) put(ctx context.Context, b []byte) error {
	where, over, err := l.here.Describe(remote.Memory{Bytes: b})
	if err != nil {
		return err
	}
	defer over()
	return l.there.Pull(ctx, remote.Memory{Bytes: l.segment[:len(b)], Segment: l.segment}, where)
}

func (l *lines) get(ctx context.Context, b []byte) error {
	where, over, err := l.there.Describe(remote.Memory{Bytes: l.segment[:len(b)], Segment: l.segment})
	if err != nil {
		return err
	}
	defer over()
	return l.here.Pull(ctx, remote.Memory{Bytes: b}, where)
}

// stages is how many are mapped.
func stages(t *testing.T) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.Lines(string(maps)) {
		var from, to uint64
		if _, err := fmt.Sscanf(s, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if to-from == Stage && strings.Contains(s, "/dev/zero") { // as the kernel calls what is shared and of no file
			n++
		}
	}
	return n
}

// TestAStreamOfShortTransfersIsRegisteredOnce, however often the program's memory is another one.
func TestAStreamOfShortTransfersIsRegisteredOnce(t *testing.T) {
	l, before := newLines(t), stages(t)
	kept := make([]byte, Stage)
	for i := range 50_000 {
		n := 8<<10 + i%1000
		b := make([]byte, n)
		copy(b, fmt.Sprintf("transfer %d", i))
		b[n-1] = byte(i) | 1
		got := kept[:n]
		if err := errors.Join(l.put(t.Context(), b), l.get(t.Context(), got)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("transfer %d: %.20q came back as %.20q, %v", i, b, got, err)
		}
	}
	if c := l.client.adapter.Counts(); c.Registrations > 10 || c.Registered != 2 || c.RegisteredBytes != 2*Stage { // one for each direction
		t.Errorf("100,000 transfers: %+v", c)
	}
	if c := l.server.adapter.Counts(); c.Registrations != 2 {
		t.Errorf("100,000 transfers, at the server: %+v", c)
	}
	if err := errors.Join(l.here.Close(), l.there.Close()); err != nil {
		t.Error(err)
	}
	if c, n := l.client.adapter.Counts(), stages(t); c.Registered != 0 || c.RegisteredBytes != 0 || n != before {
		t.Errorf("when the line is closed: %d stages are mapped, there were %d, %+v", n, before, c)
	}
}

// TestEachConnectionHasAStage, and each client: what one server has been given is nothing that another can read.
func TestEachConnectionHasAStage(t *testing.T) {
	r := newRig(t)
	here := r.machine("client", "192.0.2.2")
	c := r.client(here, remote.Required)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				want := noise(64 << 10)
				b, err := c.Put(t.Context(), want, blob.Read)
				if err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, len(want))
				if err := errors.Join(c.Get(t.Context(), b.Handle(), 0, got), b.Free(t.Context())); err != nil || !bytes.Equal(got, want) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n, most := here.adapter.Counts().Registrations, 2*uint64(c.Conns()); n > most { // one for each direction
		t.Errorf("800 transfers over %d connections took %d registrations", c.Conns(), n)
	}
}

// TestWhatIsLongIsRegistered for its transfer, and not copied.
func TestWhatIsLongIsRegistered(t *testing.T) {
	l := newLines(t)
	for i, n := range []int{Stage + 1, 1 << 20} {
		b := noise(n)
		got := make([]byte, n)
		if err := errors.Join(l.put(t.Context(), b), l.get(t.Context(), got)); err != nil || !bytes.Equal(got, b) {
			t.Fatal(err)
		}
		if c := l.client.adapter.Counts(); c.Registrations != uint64(2*i+2) || c.Registered != 0 {
			t.Errorf("%d bytes there and back: %+v", n, c)
		}
	}
}

// TestWhereNoStageCanBePinned less may be, for a transfer; and the next one tries again.
func TestWhereNoStageCanBePinned(t *testing.T) {
	l := newLines(t)
	l.client.nic.Change(func(n *fakeverbs.NIC) { n.Register = syscall.ENOMEM })
	if err := l.put(t.Context(), noise(8<<10)); err == nil {
		t.Error("nothing can be registered, and it is")
	}
	l.client.nic.Change(func(n *fakeverbs.NIC) { n.Register = nil })
	want, got := noise(8<<10), make([]byte, 8<<10)
	if err := errors.Join(l.put(t.Context(), want), l.get(t.Context(), got)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestADeviceThatCannotBeStoppedWritesToTheStage, which is lost, and not to what the program uses for something else.
func TestADeviceThatCannotBeStoppedWritesToTheStage(t *testing.T) {
	l, before := newLines(t), stages(t)
	if err := l.put(t.Context(), noise(8<<10)); err != nil {
		t.Fatal(err)
	}
	l.client.nic.Change(func(n *fakeverbs.NIC) {
		n.Destroy = syscall.EIO
		n.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Lost: true} }
	})
	b := make([]byte, 8<<10)
	if err := l.get(t.Context(), b); !errors.Is(err, remote.ErrStuck) {
		t.Fatalf("%v", err)
	}
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("what has failed has written something")
	}
	if err := l.here.Close(); !errors.Is(err, remote.ErrStuck) {
		t.Errorf("it is closed: %v", err)
	}
	if n := stages(t); n != before+1 {
		t.Errorf("%d stages are mapped, want %d", n, before+1)
	}
	if c := l.client.adapter.Counts(); c.Stuck != 1 {
		t.Errorf("%+v", c)
	}
}

// TestALineIsClosedWhileItIsUsed: as a client is that is closed.
func TestALineIsClosedWhileItIsUsed(t *testing.T) {
	l := newLines(t)
	for range 300 {
		here, there := l.here, l.there
		begun := make(chan struct{})
		var user sync.WaitGroup
		user.Go(func() {
			b := noise(64 << 10)
			for first := true; ; first = false {
				err := errors.Join(l.put(t.Context(), b), l.get(t.Context(), b))
				if first {
					close(begun)
				}
				if err != nil {
					return
				}
			}
		})
		<-begun
		if err := here.Close(); err != nil {
			t.Error(err)
		}
		user.Wait()
		if err := there.Close(); err != nil {
			t.Error(err)
		}
		if n := l.client.adapter.Counts().Registered; n != 0 {
			t.Fatalf("%d regions are left", n)
		}
		l.connect(t)
	}
}

// TestClosingALineEndsItsPull, and does not wait for the device to end it.
func TestClosingALineEndsItsPull(t *testing.T) {
	l := newLines(t)
	reads := make(chan struct{}, 1)
	l.client.nic.Change(func(n *fakeverbs.NIC) {
		n.Judge = func(fakeverbs.Read) fakeverbs.Fate {
			reads <- struct{}{}
			return fakeverbs.Fate{Hangs: true}
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- l.get(t.Context(), make([]byte, 8<<10)) }()
	<-reads
	if err := l.here.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; rdma.ReasonOf(err) != rdma.Closed {
		t.Errorf("%v", err)
	}
}
