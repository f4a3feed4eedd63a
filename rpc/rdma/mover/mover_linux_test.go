package mover

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is one with a device.
type machine struct {
	nic     *fakeverbs.NIC
	adapter *rdma.Adapter
	mover   *Mover
}

// rig are a server with a host of blobs and a client, whose bytes go by RDMA.
type rig struct {
	*testing.T
	fabric *fakeverbs.Fabric
	server *machine
	remote *remote.Server
	host   *shm.Host
	addr   string
}

func (r *rig) machine(name, address string) *machine {
	gid := verbs.GID(netip.MustParseAddr(address).As16())
	m := &machine{nic: r.fabric.Add(name, gid)}
	var err error
	m.adapter, err = rdma.Open(rdma.Options{
		Driver: r.fabric, Device: name, Timeout: 1, Spin: -1, Stall: 100 * time.Millisecond, Drain: 10 * time.Millisecond,
		Locate: func() (rdma.Place, error) { return rdma.Place{Port: 1, GID: gid}, nil },
	})
	if err != nil {
		r.Fatal(err)
	}
	m.mover = New(m.adapter, nil)
	return m
}

type nobody struct{}

func (nobody) Message(conn.Peer, *conn.In)       {}
func (nobody) Closed(conn.Peer, error, []uint64) {}

// newRig starts a server; when the test is over, nothing is registered, and no device
// has been able to write where it must not.
func newRig(t *testing.T) *rig {
	r := &rig{T: t, fabric: fakeverbs.New()}
	r.server = r.machine("server", "192.0.2.1")
	quiet := slog.New(slog.DiscardHandler)
	r.host = shm.NewHost(shm.Options{Idle: time.Millisecond, Logger: quiet, LetGo: r.server.mover.LetGo})
	r.remote = remote.NewServer(r.host, remote.ServerOptions{Mover: r.server.mover, Log: quiet})
	conns, err := conn.NewServer(conn.ServerOptions{
		Handler: nobody{}, Bulk: r.remote.Serve,
		Admit: func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBulk})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- conns.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(conns.Close(), r.remote.Close(), r.host.Close(), r.server.adapter.Close()); err != nil {
			t.Error(err)
		}
		<-served
		if c := r.server.adapter.Counts(); c.Registered != 0 || c.Queues != 0 {
			t.Errorf("left: %+v", c)
		}
		if v := r.fabric.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	})
	return r
}

// client is one on another machine.
func (r *rig) client(m *machine, mode remote.MoverMode) *remote.Client {
	c, err := remote.Dial(r.Context(), remote.Options{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		},
		Mover: m.mover, Mode: mode,
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := c.Close(); err != nil {
			r.Error(err)
		}
		if m.adapter == nil {
			return
		}
		if err := m.adapter.Close(); err != nil {
			r.Error(err)
		}
		if n := m.adapter.Counts().Registered; n != 0 {
			r.Errorf("%d regions of the client are left", n)
		}
	})
	return c
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.NewChaCha8([32]byte{byte(n)}), b)
	return b
}

func TestBlobsGoByRDMA(t *testing.T) {
	r := newRig(t)
	here := r.machine("client", "192.0.2.2")
	c := r.client(here, remote.Required)
	for range 5 {
		want := noise(5<<20 + 123)
		b, err := c.Put(t.Context(), want, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := c.Get(t.Context(), b.Handle(), 0, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v, same %v", err, bytes.Equal(got, want))
		}
		part := make([]byte, 1<<20)
		if err := c.Get(t.Context(), b.Handle(), 77, part); err != nil || !bytes.Equal(part, want[77:77+len(part)]) {
			t.Fatalf("a part: %v", err)
		}
		if err := b.Free(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m := c.Moved(); m.Mover != 15 || m.Conn != 0 {
		t.Errorf("%+v", m)
	}
	if own, there := here.adapter.Counts(), r.server.adapter.Counts(); there.Pulls != 5 || own.Pulls != 10 || own.Registered != 0 {
		t.Errorf("client %+v, server %+v", own, there)
	}
}

// However many blobs, segments are registered once.
func TestSegmentsAreRegisteredOnce(t *testing.T) {
	r := newRig(t)
	c := r.client(r.machine("client", "192.0.2.2"), remote.Required)
	keep, err := c.Put(t.Context(), noise(64<<10), blob.Read) // its segment stays
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		b, err := c.Put(t.Context(), noise(64<<10), blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Free(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.server.adapter.Counts().Registrations; n > 2 {
		t.Errorf("%d registrations", n)
	}
	if err := keep.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryHasTheRightsOfWhatItIsFor and no more: what only comes in no peer may read, what only goes out no device
// may write. A segment for both is registered for each.
func TestMemoryHasTheRightsOfWhatItIsFor(t *testing.T) {
	const in, out = verbs.Sink, verbs.Source
	for name, size := range map[string]int{"copied at the client": Stage, "registered at the client": Stage + 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			m := r.machine("client", "192.0.2.2")
			c := r.client(m, remote.Required)
			want := func(what string, n *fakeverbs.NIC, rights ...verbs.Rights) {
				t.Helper()
				if got := n.Granted(); !slices.Equal(got, rights) {
					t.Errorf("%s: memory is registered with %v, want %v", what, got, rights)
				}
			}
			b, err := c.Put(t.Context(), noise(size), blob.Read)
			if err != nil {
				t.Fatal(err)
			}
			want("put, server", r.server.nic, in)
			want("put, client", m.nic, out)
			got := make([]byte, size)
			for range 2 {
				if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, noise(size)) {
					t.Fatal(err)
				}
			}
			want("put and got, server", r.server.nic, in, out)
			if size > Stage {
				want("put and got twice, client", m.nic, out, in, in)
			} else {
				want("put and got twice, client", m.nic, out, in)
			}
			if err := b.Free(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Somebody always has a device that does not work.
func TestWhatDoesNotGoByRDMAGoesByTCP(t *testing.T) {
	status := func(s verbs.Status) func(*fakeverbs.NIC) {
		return func(n *fakeverbs.NIC) {
			n.Judge = func(read fakeverbs.Read) (f fakeverbs.Fate) {
				if read.Number%2 == 0 {
					f.Status = s
				}
				return f
			}
		}
	}
	for name, c := range map[string]struct {
		server, client func(*fakeverbs.NIC)
		reason         string
	}{
		"the server's READ ends badly":    {server: status(verbs.RetriesExceeded), reason: remote.ReasonPeer},
		"the client cannot pin memory":    {client: func(n *fakeverbs.NIC) { n.Register = syscall.EFAULT }, reason: string(rdma.NoMemory)},
		"the server cannot pin memory":    {server: func(n *fakeverbs.NIC) { n.Register = syscall.ENOMEM }, reason: remote.ReasonPeer},
		"the client's port is down":       {client: func(n *fakeverbs.NIC) { n.Port.Active = false }, reason: string(rdma.PortDown)},
		"the server has no queue pair":    {server: func(n *fakeverbs.NIC) { n.Queue = syscall.ENOMEM }, reason: remote.ReasonPeer},
		"the server's READs never end":    {server: func(n *fakeverbs.NIC) { n.Judge = hang }, reason: remote.ReasonPeer},
		"the client's address is another": {client: func(n *fakeverbs.NIC) { n.GIDs[0][15]++ }, reason: string(rdma.GIDMoved)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			here := r.machine("client", "192.0.2.2")
			if c.server != nil {
				r.server.nic.Change(c.server)
			}
			if c.client != nil {
				here.nic.Change(c.client)
			}
			client := r.client(here, remote.Auto)
			want := noise(3 << 20)
			b, err := client.Put(t.Context(), want, blob.Read)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if err := client.Get(t.Context(), b.Handle(), 0, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v, same %v", err, bytes.Equal(got, want))
			}
			if m := client.Moved(); m.Why[c.reason] != 1 || m.Mover != 0 {
				t.Errorf("%+v, want %s", m, c.reason)
			}
		})
	}
}

func hang(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Hangs: true} }

func TestRequiredMeansThatNothingGoesByTCP(t *testing.T) {
	r := newRig(t)
	here := r.machine("client", "192.0.2.2")
	here.nic.Change(func(n *fakeverbs.NIC) { n.Port.Active = false })
	_, err := r.client(here, remote.Required).Put(t.Context(), noise(1<<20), blob.Read)
	var past *remote.MoverError
	if !errors.As(err, &past) || past.Reason != string(rdma.PortDown) {
		t.Errorf("%v", err)
	}
}

func TestAMachineWithoutADeviceSaysWhy(t *testing.T) {
	r := newRig(t)
	c := r.client(&machine{mover: New(nil, nil)}, remote.Auto)
	if _, err := c.Put(t.Context(), noise(1<<20), blob.Read); err != nil {
		t.Fatal(err)
	}
	if m := c.Moved(); m.Why[string(rdma.NoRDMA)] != 1 {
		t.Errorf("%+v", m)
	}
	if err := New(nil, nil).LetGo(noise(1)); err != nil {
		t.Error(err)
	}
}

// Many at once, with the same bytes, so that their registrations are of the same memory.
func TestManyPutTheSameBytes(t *testing.T) {
	r := newRig(t)
	c := r.client(r.machine("client", "192.0.2.2"), remote.Required)
	want := noise(256 << 10)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			b, err := c.Put(t.Context(), want, blob.Read)
			if err != nil {
				t.Error(err)
				return
			}
			if err := b.Free(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A device of the server that cannot be stopped: the segment is lost, and nobody gets it.
func TestAStuckDeviceKeepsItsSegment(t *testing.T) {
	r := newRig(t)
	broken := r.server.adapter
	r.server.adapter = r.machine("spare", "192.0.2.3").adapter // the other one cannot be closed
	r.server.nic.Change(func(n *fakeverbs.NIC) {
		n.Destroy = syscall.EIO
		n.Judge = func(fakeverbs.Read) fakeverbs.Fate { return fakeverbs.Fate{Lost: true} }
	})
	c := r.client(r.machine("client", "192.0.2.2"), remote.Auto)
	_, err := c.Put(t.Context(), noise(1<<20), blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	if n := broken.Counts(); n.Stuck != 1 || n.Failed[rdma.Stuck] != 1 {
		t.Errorf("%+v", n)
	}
	if err := broken.Close(); !errors.Is(err, rdma.ErrStuck) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNotWanted(t *testing.T) {
	r := newRig(t)
	l, err := r.server.mover.Line()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := remote.Memory{Bytes: noise(1 << 20)}
	for _, where := range [][]byte{nil, rdma.Descriptor{Length: 7, Adapter: rdma.AdapterID{1}}.Append(nil)} {
		if err := l.Pull(t.Context(), m, where); rdma.ReasonOf(err) != rdma.Malformed {
			t.Errorf("%v", err)
		}
	}
	if _, _, err := l.Describe(remote.Memory{}); err == nil {
		t.Error("nothing was described")
	}
}
