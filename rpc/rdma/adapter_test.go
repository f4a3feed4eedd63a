package rdma

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

// What a program without the build tag answers, or with it on a machine without RDMA.
func TestWithoutADeviceEverybodyIsToldWhy(t *testing.T) {
	_, err := Open(Options{Device: "mlx5_0"})
	if reason := ReasonOf(err); reason != NoRDMA && reason != NoDevice {
		t.Error(err)
	}
	if _, loadErr := verbs.Load(); loadErr != nil && !errors.Is(err, ErrNoRDMA) {
		t.Error(err)
	}
	_, err = Open(Options{Driver: fakeverbs.New(), Device: "mlx5_0"})
	if ReasonOf(err) != NoDevice || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	fabric := fakeverbs.New()
	fabric.Add("mlx5_0", gidOf("192.0.2.1")).Kill()
	_, err = Open(Options{Driver: fabric, Device: "mlx5_0"})
	if ReasonOf(err) != NoDevice || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if r := ReasonOf(errors.New("somebody else's")); r != DeviceFault {
		t.Error(r)
	}
}

func TestReasonsAreWordsForMetrics(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] || strings.Trim(string(r), "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("%q", r)
		}
		seen[r] = true
	}
}

func TestMemoryIsRegisteredOnce(t *testing.T) {
	r := newRig(t, Options{})
	registrations := func() uint64 { return r.here.adapter.Counts().Registrations }
	for _, rights := range []verbs.Rights{both, verbs.Sink, verbs.Source} {
		again, err := r.here.adapter.Register(r.here.memory, rights)
		if err != nil || again != r.here.region || registrations() != 1 {
			t.Errorf("%v, %d registrations", err, registrations())
		}
	}
	other := make([]byte, chunk)
	sink, err := r.here.adapter.Register(other, verbs.Sink)
	r.want(err, "")
	source, err := r.here.adapter.Register(other, verbs.Source)
	r.want(err, "")
	if sink == source || registrations() != 3 {
		t.Error("rights were widened")
	}
	r.want(sink.Close(), "")
	if again, err := r.here.adapter.Register(other, verbs.Source); err != nil || again != source {
		t.Error("closing one closed the other")
	}
	r.want(source.Close(), "")
	again, err := r.here.adapter.Register(other, verbs.Source)
	if err != nil || again == source || registrations() != 4 {
		t.Error("what is closed was found")
	}
	for _, wrong := range []struct {
		bytes  []byte
		rights verbs.Rights
	}{{nil, both}, {other, 0}, {other, 4}} {
		_, err := r.here.adapter.Register(wrong.bytes, wrong.rights)
		r.want(err, OutOfRange)
	}
}

func TestOnlySourcesAreDescribed(t *testing.T) {
	r := newRig(t, Options{Inline: 100})
	sink, err := r.here.adapter.Register(make([]byte, size), verbs.Sink)
	r.want(err, "")
	_, err = sink.Describe(0, 101)
	r.want(err, OutOfRange)
	for _, c := range []struct{ offset, n uint64 }{{0, size + 1}, {size, 1}, {size + 1, 0}, {1, math.MaxUint64}} {
		_, err = r.here.region.Describe(c.offset, c.n)
		r.want(err, OutOfRange)
	}
	d, err := r.here.region.Describe(7, 100)
	if r.want(err, ""); d.remote() || len(d.Inline) != 100 || d.Inline[0] != r.here.memory[7] {
		t.Errorf("%+v", d)
	}
	d.Inline[0]++
	if d.Inline[0] == r.here.memory[7] {
		t.Error("inline bytes are the memory's own")
	}
	d, err = r.here.region.Describe(7, 101)
	if r.want(err, ""); !d.remote() || d.Address != r.here.region.memory.Address()+7 || d.Inline != nil {
		t.Errorf("%+v", d)
	}
}

func TestMemoryThatMayNotBePinned(t *testing.T) {
	limit := errors.New("at most 8192 KiB of memory may be locked")
	for name, c := range map[string]struct {
		err, lockable error
		reason        Reason
	}{
		"beyond the limit":    {err: syscall.ENOMEM, lockable: limit, reason: Memlock},
		"without a limit":     {err: syscall.ENOMEM, reason: NoMemory},
		"for another cause":   {err: syscall.EFAULT, lockable: limit, reason: NoMemory},
		"for no lack of room": {err: syscall.EINVAL, reason: NoMemory},
	} {
		t.Run(name, func(t *testing.T) {
			asked := uint64(0)
			r := newRig(t, Options{lockable: func(bytes uint64) error { asked = bytes; return c.lockable }})
			r.here.nic.Register = c.err
			_, err := r.here.adapter.Register(make([]byte, chunk), both)
			if r.want(err, c.reason); !errors.Is(err, c.err) {
				t.Error(err)
			}
			if c.reason == Memlock && (!errors.Is(err, limit) || !strings.Contains(err.Error(), "cap_ipc_lock+ep") || asked != size+chunk) {
				t.Errorf("%d bytes were asked for, no remedy: %v", asked, err)
			}
		})
	}
}

func TestAnAdapterClosesWhatItHas(t *testing.T) {
	r := connected(t, Options{})
	r.want(r.here.adapter.Close(), "")
	_, err := r.here.adapter.NewEndpoint()
	r.want(err, Closed)
	_, err = r.here.adapter.Register(make([]byte, chunk), both)
	r.want(err, Closed)
	r.want(r.pull(2*chunk), Closed)
	r.want(r.here.adapter.Close(), "")
	if r.here.adapter.ID() == r.there.adapter.ID() || r.here.adapter.Device() != "here" {
		t.Error("identity")
	}
}

func TestMemoryThatIsRegisteredForOneUse(t *testing.T) {
	r := newRig(t, Options{})
	once, err := r.here.adapter.RegisterOnce(r.here.memory, verbs.Source)
	r.want(err, "")
	shared, err := r.here.adapter.Register(r.here.memory, verbs.Source)
	if r.want(err, ""); once == shared || shared != r.here.region {
		t.Error("it is somebody else's, too")
	}
	r.want(once.Close(), "")
	if again, err := r.here.adapter.Register(r.here.memory, verbs.Source); err != nil || again != shared {
		t.Error("closing it has closed the other")
	}
	r.want(r.here.adapter.Forget(r.here.memory), "")
	r.want(r.here.adapter.Forget(r.here.memory), "")
	r.want(r.here.adapter.Forget(nil), "")
	if n := r.here.adapter.Counts().Registered; n != 0 {
		t.Errorf("%d regions are left", n)
	}
}

func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/rdma.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []Reason
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z][a-z-]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, Reason(m[1]))
	}
	if !slices.Equal(documented, Reasons()) {
		t.Errorf("docs/rdma.md has %q, want %q", documented, Reasons())
	}
}
