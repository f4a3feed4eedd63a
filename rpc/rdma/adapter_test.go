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
	for name, c := range map[string]struct {
		err    error
		locked locked
		read   error
		reason Reason
	}{
		"beyond the limit":          {err: syscall.ENOMEM, locked: locked{limit: 8 << 20}, reason: Memlock},
		"with the capability":       {err: syscall.ENOMEM, locked: locked{limit: 8 << 20, capable: true}, reason: NoMemory},
		"without a limit":           {err: syscall.ENOMEM, locked: locked{limit: math.MaxUint64}, reason: NoMemory},
		"a limit that nobody tells": {err: syscall.ENOMEM, read: syscall.EPERM, reason: NoMemory},
		"for another cause":         {err: syscall.EFAULT, reason: NoMemory},
	} {
		t.Run(name, func(t *testing.T) {
			err := registerError(c.err, 64<<20, 4096, func() (locked, error) { return c.locked, c.read })
			if err.Reason != c.reason || !errors.Is(err, c.err) {
				t.Errorf("%v", err)
			}
			var m *MemlockError
			if is := errors.As(err, &m); is != (c.reason == Memlock) {
				t.Errorf("%v", err)
			} else if is && !strings.Contains(m.Error(), "RLIMIT_MEMLOCK is 8388608 bytes") || is && !strings.Contains(m.Error(), "cap_ipc_lock+ep") {
				t.Errorf("no remedy: %v", m)
			}
		})
	}
	r := newRig(t, Options{})
	r.here.nic.Register = syscall.EFAULT
	_, err := r.here.adapter.Register(make([]byte, chunk), both)
	r.want(err, NoMemory)
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
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, Reason(m[1]))
	}
	if !slices.Equal(documented, Reasons()) {
		t.Errorf("docs/rdma.md has %q, want %q", documented, Reasons())
	}
}
