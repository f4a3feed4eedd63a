package rdma

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

const (
	both  = verbs.Sink | verbs.Source
	chunk = 4 << 10
	size  = 256 << 10 // of each one's memory
)

// side is one of two machines.
type side struct {
	nic      *fakeverbs.NIC
	adapter  *Adapter
	memory   []byte
	region   *Region
	endpoint *Endpoint
}

// rig are two machines with a network between them: here wants bytes, there has them.
type rig struct {
	*testing.T
	fabric      *fakeverbs.Fabric
	here, there *side
}

func gidOf(address string) verbs.GID { return verbs.GID(netip.MustParseAddr(address).As16()) }

// place finds the only GID of a device.
func place(n *fakeverbs.NIC) func() (Place, error) {
	return func() (p Place, err error) {
		n.Change(func(n *fakeverbs.NIC) {
			if len(n.GIDs) == 0 {
				err = errors.New("no GID")
				return
			}
			p = Place{Port: 1, Index: len(n.GIDs) - 1, GID: n.GIDs[len(n.GIDs)-1]}
		})
		return p, err
	}
}

// newRig makes two machines that are not connected yet.
func newRig(t *testing.T, o Options) *rig {
	r := &rig{T: t, fabric: fakeverbs.New()}
	r.here, r.there = r.side("here", "192.0.2.1", o), r.side("there", "192.0.2.2", o)
	t.Cleanup(func() {
		if v := r.fabric.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	})
	return r
}

func (r *rig) side(name, address string, o Options) *side {
	r.Helper()
	s := &side{nic: r.fabric.Add(name, gidOf(address)), memory: make([]byte, size)}
	if o.Spin == 0 {
		o.Spin = -1 // in a bubble, time stands still while somebody polls
	}
	o.Driver, o.Device, o.Chunk, o.Locate = r.fabric, name, chunk, place(s.nic)
	var err error
	if s.adapter, err = Open(o); err != nil {
		r.Fatal(err)
	}
	if s.region, err = s.adapter.Register(s.memory, both); err != nil {
		r.Fatal(err)
	}
	if s.endpoint, err = s.adapter.NewEndpoint(); err != nil {
		r.Fatal(err)
	}
	_, _ = rand.NewChaCha8([32]byte{byte(len(name))}).Read(s.memory) // never fails
	return s
}

// connected makes two that are.
func connected(t *testing.T, o Options) *rig {
	r := newRig(t, o)
	if err := r.join(r.here.endpoint, r.there.endpoint); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) join(here, there *Endpoint) error {
	return errors.Join(here.Connect(there.Offer()), there.Connect(here.Offer()))
}

// describe describes a range of there's memory.
func (r *rig) describe(offset, n uint64) Descriptor {
	r.Helper()
	d, err := r.there.region.Describe(offset, n)
	if err != nil {
		r.Fatal(err)
	}
	return d
}

// pull pulls n bytes from the begin of there's memory to the begin of here's.
func (r *rig) pull(n uint64) error {
	r.Helper()
	return r.here.endpoint.Pull(context.Background(), r.describe(0, n), r.here.region, 0)
}

// want fails unless an error has a reason; empty: unless there is none.
func (r *rig) want(err error, reason Reason) {
	r.Helper()
	if reason == "" && err == nil {
		return
	}
	if err == nil || ReasonOf(err) != reason {
		r.Fatalf("%v, want reason %q", err, reason)
	}
}

// quiet fails if anything is still written to here's memory. It takes an hour, of a bubble.
func (r *rig) quiet() {
	r.Helper()
	want := bytes.Repeat([]byte{0x11}, size)
	copy(r.here.memory, want)
	time.Sleep(time.Hour)
	if !bytes.Equal(r.here.memory, want) {
		r.Fatal("bytes were written after the pull had returned")
	}
}
