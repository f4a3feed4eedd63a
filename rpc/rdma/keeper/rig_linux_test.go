package keeper

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/fakehost"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is a machine with a device, and who keeps that open.
type side struct {
	*fakehost.Machine
	*Keeper
}

// rig are a server with a host of blobs, and a client on another machine.
type rig struct {
	*testing.T
	fabric         *fakeverbs.Fabric
	server, client side
	host           *shm.Host
	remote         *remote.Server
	far            *remote.Client
}

func quick() rdma.Options {
	return rdma.Options{Timeout: 1, Spin: -1, Stall: 100 * time.Millisecond, Drain: 10 * time.Millisecond}
}

// options are those of a keeper on a machine.
func (r *rig) options(m *fakehost.Machine, mode device.Mode) Options {
	return Options{
		Promise: device.Promise{Mode: mode, Want: device.Want{Resource: fakehost.Resource, Count: 1}, Host: m.Host()},
		Load:    func() (verbs.Driver, error) { return r.fabric, nil }, Adapter: quick(),
	}
}

func (r *rig) machine(name, addr string) *fakehost.Machine {
	r.Helper()
	m, err := fakehost.New(r.TempDir(), r.fabric, name, addr)
	if err != nil {
		r.Fatal(err)
	}
	return m
}

func (r *rig) side(name, addr string) side {
	r.Helper()
	s := side{Machine: r.machine(name, addr)}
	s.Keeper = New(r.options(s.Machine, device.Auto))
	s.Look()
	return s
}

type nobody struct{}

func (nobody) Message(conn.Peer, *conn.In)       {}
func (nobody) Closed(conn.Peer, error, []uint64) {}

// newRig starts both; when the test is over, nothing is registered, and no device has been
// able to write where it must not.
func newRig(t *testing.T, mode remote.MoverMode) *rig {
	r := &rig{T: t, fabric: fakeverbs.New()}
	t.Cleanup(func() {
		if v := r.fabric.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	})
	r.server, r.client = r.side("mlx5_4", "10.0.0.5"), r.side("mlx5_7", "10.0.0.6")
	quiet := slog.New(slog.DiscardHandler)
	r.host = shm.NewHost(shm.Options{Idle: time.Millisecond, Logger: quiet, LetGo: r.server.LetGo})
	r.remote = remote.NewServer(r.host, remote.ServerOptions{Mover: r.server.Keeper, Log: quiet})
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
	served := make(chan error, 1)
	go func() { served <- conns.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(conns.Close(), r.remote.Close(), r.host.Close(), r.server.Close()); err != nil {
			t.Error(err)
		}
		<-served
		if c := r.server.Status().Counts; c.Registered != 0 || c.Queues != 0 {
			t.Errorf("left: %+v", c)
		}
	})
	r.far, err = remote.Dial(t.Context(), remote.Options{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
		},
		Mover: r.client.Keeper, Mode: mode,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.far.Close(), r.client.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.NewChaCha8([32]byte{byte(n)}), b)
	return b
}

const length = 1<<20 + 77

// there and back again: a blob is put and got.
func (r *rig) roundTrip() error {
	r.Helper()
	want := noise(length)
	b, err := r.far.Put(r.Context(), want, blob.Read)
	if err != nil {
		return err
	}
	defer b.Free(r.Context())
	got := make([]byte, length)
	if err := r.far.Get(r.Context(), b.Handle(), 0, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		r.Error("other bytes came back")
	}
	return nil
}

// goes checks that a round trip goes so many times past the connection, and why not else.
func (r *rig) goes(past uint64, why ...rdma.Reason) {
	r.Helper()
	before := r.far.Moved()
	if err := r.roundTrip(); err != nil {
		r.Error(err)
	}
	after := r.far.Moved()
	if n := after.Mover - before.Mover; n != past {
		r.Errorf("%d transfers went by RDMA, want %d; why not: %v", n, past, after.Why)
	}
	for _, reason := range why {
		if after.Why[string(reason)] == before.Why[string(reason)] {
			r.Errorf("no transfer is counted as %s: %v", reason, after.Why)
		}
	}
}

// is checks why bytes do not go by a keeper's device; empty: they do.
func (r *rig) is(s side, reason rdma.Reason) {
	r.Helper()
	if err := s.Ready(); err == nil != (reason == "") || err != nil && rdma.ReasonOf(err) != reason {
		r.Errorf("ready: %v, want %q", err, reason)
	}
}

func (r *rig) do(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}
