package rdma

import (
	"errors"
	"syscall"
	"testing"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Between the offer and the connection, and while that is made, everything can change.
func TestWhereTheDeviceIsIsLookedUpAtEveryConnect(t *testing.T) {
	first, second := gidOf("192.0.2.1"), gidOf("192.0.2.7")
	for name, c := range map[string]struct {
		change func(*fakeverbs.NIC)
		reason Reason
	}{
		"nothing changes":                    {change: func(*fakeverbs.NIC) {}},
		"the GID has another index":          {change: func(n *fakeverbs.NIC) { n.GIDs = []verbs.GID{{1}, {2}, first} }},
		"the GID is gone":                    {change: func(n *fakeverbs.NIC) { n.GIDs = nil }, reason: NoGID},
		"the address is another one":         {change: func(n *fakeverbs.NIC) { n.GIDs[0] = second }, reason: GIDMoved},
		"the port goes down":                 {change: func(n *fakeverbs.NIC) { n.Port.Active = false }, reason: PortDown},
		"the index moves under the connect":  {change: func(n *fakeverbs.NIC) { n.Changed = func() { n.GIDs = []verbs.GID{second, first} } }, reason: GIDMoved},
		"the GID goes under the connect":     {change: func(n *fakeverbs.NIC) { n.Changed = func() { n.GIDs = nil } }, reason: NoGID},
		"the queue pair cannot be connected": {change: func(n *fakeverbs.NIC) { n.Connect = syscall.ETIMEDOUT }, reason: NoQueue},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.here.nic.Change(c.change)
			err := r.here.endpoint.Connect(r.there.endpoint.Offer())
			r.want(err, c.reason)
			r.want(r.there.endpoint.Connect(r.here.endpoint.Offer()), "")
			if c.reason == "" {
				r.want(r.pull(2*chunk), "")
				r.want(r.here.endpoint.Connect(r.there.endpoint.Offer()), Closed)
				return
			}
			r.want(r.here.endpoint.Err(), c.reason)
			r.want(r.pull(2*chunk), Closed)
			r.want(r.here.endpoint.Close(), "")
		})
	}
}

func TestEndpointsThatCannotBeMade(t *testing.T) {
	r := newRig(t, Options{})
	for _, c := range []struct {
		change func(*fakeverbs.NIC)
		reason Reason
	}{
		{func(n *fakeverbs.NIC) { n.Queue = syscall.ENOMEM }, NoQueue},
		{func(n *fakeverbs.NIC) { n.Port.Active = false }, PortDown},
		{func(n *fakeverbs.NIC) { n.GIDs = nil }, NoGID},
	} {
		r.here.nic.Change(c.change)
		_, err := r.here.adapter.NewEndpoint()
		r.want(err, c.reason)
	}
	r.here.adapter.options.Locate = func() (Place, error) { return Place{Port: 2}, nil }
	_, err := r.here.adapter.NewEndpoint()
	r.want(err, NoDevice)
}

// path is what a queue pair is connected by.
type path struct {
	verbs.Queue
	path *verbs.Path
}

func (p path) Connect(to verbs.Path) error {
	*p.path = to
	return p.Queue.Connect(to)
}

func TestBothSidesAgree(t *testing.T) {
	for name, c := range map[string]struct {
		here, there verbs.Port
		options     Options
		mtu         int
		global      bool
		err         Reason
	}{
		"RoCE":                   {here: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, there: verbs.Port{Active: true, Ethernet: true, MTU: 1024}, mtu: 1024, global: true},
		"the own MTU is smaller": {here: verbs.Port{Active: true, Ethernet: true, MTU: 2048}, there: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, mtu: 2048, global: true},
		"an MTU is set":          {here: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, there: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, options: Options{MTU: 512}, mtu: 512, global: true},
		"InfiniBand":             {here: verbs.Port{Active: true, MTU: 4096, LID: 3}, there: verbs.Port{Active: true, MTU: 4096, LID: 4}, mtu: 4096},
		"InfiniBand whose functions share a LID": {
			here: verbs.Port{Active: true, MTU: 4096, LID: 3, Global: true}, there: verbs.Port{Active: true, MTU: 4096, LID: 3, Global: true}, mtu: 4096, global: true,
		},
		"the own LID alone is shared": {
			here: verbs.Port{Active: true, MTU: 4096, LID: 3, Global: true}, there: verbs.Port{Active: true, MTU: 4096, LID: 4}, mtu: 4096, global: true,
		},
		"the peer's LID alone is shared": {
			here: verbs.Port{Active: true, MTU: 4096, LID: 3}, there: verbs.Port{Active: true, MTU: 4096, LID: 4, Global: true}, mtu: 4096, global: true,
		},
		"a class of packets": {
			here: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, there: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, options: Options{TrafficClass: 104, ServiceLevel: 3}, mtu: 4096, global: true,
		},
		"one of each": {here: verbs.Port{Active: true, MTU: 4096}, there: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, err: Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.options)
			r.here.nic.Change(func(n *fakeverbs.NIC) { n.Port = c.here })
			r.there.nic.Change(func(n *fakeverbs.NIC) { n.Port = c.there })
			here, err := r.here.adapter.NewEndpoint()
			r.want(err, "")
			there, err := r.there.adapter.NewEndpoint()
			r.want(err, "")
			var p verbs.Path
			here.queue = path{here.queue, &p}
			err = here.Connect(there.Offer())
			if r.want(err, c.err); err != nil {
				return
			}
			if p.MTU != c.mtu || p.Global != c.global || p.LID != c.there.LID || p.Reads != 16 || p.Served != 16 ||
				p.GID != gidOf("192.0.2.2") || p.PSN == p.PeerPSN || p.Timeout != 14 || p.Retries != 7 ||
				p.TrafficClass != c.options.TrafficClass || p.ServiceLevel != c.options.ServiceLevel {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestOffersThatAreNone(t *testing.T) {
	r := newRig(t, Options{})
	for at, b := range map[int]byte{0: 2, 1: 3, 2: 1, 3: 0, 11: 1, 15: 1, 50: 1} {
		offer := r.there.endpoint.Offer()
		offer[at] = b
		r.want(r.here.endpoint.Connect(offer), Malformed)
	}
	for _, cleared := range [][2]int{{16, 32}, {32, 48}} {
		offer := r.there.endpoint.Offer()
		clear(offer[cleared[0]:cleared[1]])
		r.want(r.here.endpoint.Connect(offer), Malformed)
	}
	// By GID, and there is none.
	r.want(r.here.endpoint.Connect(offer{adapter: AdapterID{1}, lid: 7, mtu: 4096, global: true}.append(nil)), Malformed)
	r.want(r.here.endpoint.Connect(nil), Malformed)
	// What is malformed has changed nothing.
	r.want(r.join(r.here.endpoint, r.there.endpoint), "")
	r.want(r.pull(2*chunk), "")
}

func TestDescriptorsThatAreNone(t *testing.T) {
	far := Descriptor{Length: 1 << 20, Adapter: AdapterID{1}, Address: 1 << 40, Key: 7}.Append(nil)
	near := Descriptor{Length: 3, Inline: []byte("abc")}.Append(nil)
	for name, c := range map[string]struct {
		bytes []byte
		at    int
		value byte
	}{
		"another format":        {bytes: far, at: 0, value: 2},
		"another kind":          {bytes: far, at: 1, value: 2},
		"reserved bytes":        {bytes: far, at: 3, value: 1},
		"an end missing":        {bytes: far[:len(far)-1]},
		"bytes too many":        {bytes: append(far[:len(far):len(far)], 0)},
		"no adapter":            {bytes: far, at: descriptorHead},
		"no bytes":              {bytes: far, at: 10},
		"a range that wraps":    {bytes: Descriptor{Length: 2, Adapter: AdapterID{1}, Address: 1<<64 - 1}.Append(nil)},
		"fewer bytes than said": {bytes: near[:len(near)-1]},
		"a key of nothing":      {bytes: near, at: 4, value: 1},
		"too many inline":       {bytes: Descriptor{Length: MostInline + 1, Inline: make([]byte, MostInline+1)}.Append(nil)},
		"nothing":               {},
	} {
		b := append([]byte{}, c.bytes...)
		if c.at > 0 || c.value > 0 {
			b[c.at] = c.value
		}
		if d, err := ParseDescriptor(b); ReasonOf(err) != Malformed {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(offer{adapter: AdapterID{1}, gid: verbs.GID{1}, mtu: 1024, served: 16, ethernet: true}.append(nil))
	f.Add(offer{adapter: AdapterID{1}, lid: 7, mtu: 4096, number: 1<<24 - 1, psn: 1}.append(nil))
	f.Add(offer{adapter: AdapterID{1}, gid: verbs.GID{1}, lid: 7, mtu: 4096, global: true}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err != nil {
			if ReasonOf(err) != Malformed {
				t.Errorf("%v", err)
			}
			return
		}
		if again := o.append(nil); string(again) != string(b) {
			t.Errorf("%x is encoded as %x", b, again)
		}
	})
}

func FuzzDescriptor(f *testing.F) {
	f.Add(Descriptor{}.Append(nil))
	f.Add(Descriptor{Length: 3, Inline: []byte("abc")}.Append(nil))
	f.Add(Descriptor{Length: 1 << 40, Adapter: AdapterID{1}, Address: 1 << 47, Key: 7}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescriptor(b)
		if err != nil {
			if ReasonOf(err) != Malformed {
				t.Errorf("%v", err)
			}
			return
		}
		if again := d.Append(nil); string(again) != string(b) || len(b) > MostDescriptor {
			t.Errorf("%x is encoded as %x", b, again)
		}
	})
}

func TestErrorsSayWhatIsKnown(t *testing.T) {
	for text, err := range map[string]error{
		"rdma: closed":    &Error{Reason: Closed},
		"rdma: closed: x": &Error{Reason: Closed, Err: errors.New("x")},
		"rdma: refused: REM_ACCESS_ERR (vendor's code 0x88)": &Error{Reason: Refused, Status: verbs.RemoteAccess, Vendor: 0x88},
	} {
		if err.Error() != text {
			t.Errorf("%q, want %q", err, text)
		}
	}
}
