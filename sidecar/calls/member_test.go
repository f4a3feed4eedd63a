package calls

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
	"rpcpool.dev/rpc/workers/direct"
)

// quick are the times of a registry whose nodes notice soon, and end their workers within
// 6 s.
var quick = registry.Lease{Renew: 100 * time.Millisecond, Self: 2 * time.Second, Fence: 8 * time.Second} //nolint:gochecknoglobals // constant

// home is a registry, a way to it that can be cut, and somebody who follows it.
type home struct {
	t        *testing.T
	host     *naming.Host
	proxy    *faultproxy.Proxy
	follower *naming.Follower
}

func newHome(t *testing.T) *home {
	t.Helper()
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: 1, First: true, Lease: quick}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- host.Serve(l) }()
	t.Cleanup(func() {
		_ = host.Close()
		<-served
	})
	h := &home{t: t, host: host}
	if h.proxy, err = faultproxy.New(l.Addr().String); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.proxy.Close() })
	c, err := naming.Dial(rpc.ClientOptions{}, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h.follower = naming.Follow(c, naming.FollowOptions{})
	t.Cleanup(func() {
		_ = h.follower.Close()
		_ = c.Close()
	})
	return h
}

// resident is a member that runs.
type resident struct {
	*Member
	stop  context.CancelFunc
	ended chan error
}

func (h *home) join(o Options, j JoinOptions) *resident {
	h.t.Helper()
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = starter.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	if o.Starter == nil {
		o.Starter = starter
	}
	o.Listeners, o.Log = []net.Listener{l}, slog.New(slog.NewTextHandler(h.t.Output(), nil))
	j.Tracker = h.proxy.Addr()
	j.registrar = registry.RegistrarOptions{First: 10 * time.Millisecond, Most: 100 * time.Millisecond, Timeout: time.Second}
	m, err := NewMember(o, j)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &resident{Member: m, ended: make(chan error, 1)}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.ended <- m.Run(ctx) }()
	h.t.Cleanup(func() { _ = r.end() })
	return r
}

func (r *resident) end() error {
	r.stop()
	err := <-r.ended
	r.ended <- err
	return err
}

// client returns a client of the service.
func (h *home) client(service string) *rpc.Client {
	h.t.Helper()
	c, err := rpc.NewClient(rpc.ClientOptions{Service: service})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	if err := h.follower.Feed(service, c); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// epoch is that of a node as clients know it, 0 if they do not.
func (h *home) epoch(id string) uint64 {
	for _, n := range h.follower.View().Nodes() {
		if n.ID == id {
			return n.Epoch
		}
	}
	return 0
}

func TestAMemberIsFoundByNameAndLeavesWhenItHasDrained(t *testing.T) {
	h := newHome(t)
	m := h.join(Options{DrainTimeout: patience}, JoinOptions{Name: "a", Service: "library", Server: 3})
	c := h.client("library")
	if err := c.Ready(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	at, err := h.follower.Server("library", 3)
	if err != nil {
		t.Fatal(err)
	}
	runs := rpc.Spawn[any](t.Context(), c, "sleep", 2, at)
	eventually(t, "it runs", func() bool { s := m.server.Load(); return s != nil && s.Counts().Running == 1 })
	if err := m.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	m.stop()
	eventually(t, "clients are sent elsewhere", func() bool { return len(h.follower.View().Service("library")) == 0 })
	if h.epoch("a") == 0 {
		t.Error("it has left, and still runs what was called")
	}
	if _, err := runs.Get(soon(t)); err != nil {
		t.Errorf("what runs: %v", err)
	}
	if err := m.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	eventually(t, "it has left", func() bool { return h.epoch("a") == 0 })
}

// TestAMemberThatLosesItsLeaseEndsWhatRuns: before the registry says that it is dead, and
// comes back as another instance when the registry does.
func TestAMemberThatLosesItsLeaseEndsWhatRuns(t *testing.T) {
	h := newHome(t)
	m := h.join(Options{DrainTimeout: time.Hour}, JoinOptions{Name: "a", Fence: true})
	c := h.client(defaultService)
	if err := c.Ready(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	first := h.epoch("a")
	runs := rpc.Spawn[any](t.Context(), c, "sleep", 3600)
	eventually(t, "it runs", func() bool { s := m.server.Load(); return s != nil && s.Counts().Running == 1 })
	h.proxy.Freeze()
	_, err := runs.Get(soon(t))
	if !errors.Is(err, rpc.Crashed) || !errors.Is(err, rpc.Indeterminate) {
		t.Errorf("what ran: %v", err)
	}
	if h.epoch("a") != first {
		t.Error("clients were told that it is dead before it was")
	}
	eventually(t, "it is not ready", func() bool { return m.Ready() != nil })
	eventually(t, "it is dead to clients", func() bool { return h.epoch("a") == 0 })
	h.proxy.Thaw()
	h.proxy.Reset()
	eventually(t, "it is back", func() bool { return h.epoch("a") > first })
	if got, err := rpc.Call[string](soon(t), c, "echo", "again", rpc.WaitForReady); err != nil || got != "again" {
		t.Errorf("%q, %v", got, err)
	}
	if err := m.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestAMemberGoesOnWithoutTheRegistry: it takes calls before it is accepted, though it is
// not ready, and as long as nobody can be told of it; what runs meanwhile is not ended.
func TestAMemberGoesOnWithoutTheRegistry(t *testing.T) {
	h := newHome(t)
	h.proxy.Freeze()
	m := h.join(Options{DrainTimeout: patience}, JoinOptions{Name: "a"})
	eventually(t, "it takes calls", func() bool { s := m.server.Load(); return s != nil && s.Ready() == nil })
	if err := m.Ready(); !errors.Is(err, errJoining) {
		t.Errorf("before clients can be told of it: %v", err)
	}
	h.proxy.Thaw()
	h.proxy.Reset()
	c := h.client(defaultService)
	if err := c.Ready(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready when clients know", func() bool { return m.Ready() == nil })
	first := h.epoch("a")
	runs := rpc.Spawn[any](t.Context(), c, "sleep", 10)
	eventually(t, "it runs", func() bool { return m.server.Load().Counts().Running == 1 })
	h.proxy.Freeze()
	eventually(t, "clients have lost it", func() bool { return h.epoch("a") == 0 })
	if err := m.Ready(); err != nil {
		t.Errorf("without the registry: %v", err)
	}
	h.proxy.Thaw()
	h.proxy.Reset()
	eventually(t, "it is back", func() bool { return h.epoch("a") > first })
	if _, err := runs.Get(soon(t)); err != nil {
		t.Errorf("what ran: %v", err)
	}
	if err := m.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestATableOfADeadInstanceIsSetAside: what waits in it must not run any more.
func TestATableOfADeadInstanceIsSetAside(t *testing.T) {
	for name, c := range map[string]struct {
		epoch uint64 // that the process before had when it died
		aside bool
	}{
		"it was dead to clients": {1, true},
		"it had left in order":   {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			path := filepath.Join(t.TempDir(), "journal")
			table, err := journal.Open(path, journal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			i, err := openInstance(path)
			if err == nil {
				err = errors.Join(i.save(c.epoch), i.close(), table.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			kept := func() string {
				text, _ := os.ReadFile(path + ".node")
				return string(text)
			}
			m := h.join(Options{Journal: path}, JoinOptions{Name: "a", Fence: true})
			eventually(t, "it serves, and clients know", func() bool { return m.Ready() == nil && h.epoch("a") != 0 })
			if _, err := os.Stat(path + ".aside"); (err == nil) != c.aside {
				t.Errorf("set aside: %v, want %v", err == nil, c.aside)
			}
			if want := fmt.Sprintf(" 00000002 %016x\n", h.epoch("a")); !strings.HasSuffix(kept(), want) {
				t.Errorf("%q is kept, want the end %q", kept(), want)
			}
			if err := m.end(); err != nil || !strings.HasSuffix(kept(), " 0000000000000000\n") {
				t.Errorf("Run: %v; %q is kept", err, kept())
			}
		})
	}
}

func TestAnInstanceIsTheSameAsLongAsItsJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	open := func() *instance {
		t.Helper()
		i, err := openInstance(path)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	first := open()
	if _, err := openInstance(path); err == nil || err.Error() != "journal "+path+" is in use by another server" {
		t.Errorf("a second owner: %v", err)
	}
	if err := errors.Join(first.save(0xabc), first.close()); err != nil {
		t.Fatal(err)
	}
	second := open()
	if second.secret != first.secret || second.life != 2 || second.epoch != 0xabc {
		t.Errorf("the next process: %+v, was %+v", second, first)
	}
	if err := errors.Join(second.renew(), second.close()); err != nil {
		t.Fatal(err)
	}
	third := open()
	if third.secret == first.secret || third.life != 2 || third.epoch != 0 {
		t.Errorf("after a fence: %+v", third)
	}
	_ = third.close()
	if err := os.WriteFile(path+".node", []byte("what?\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fourth := open()
	if fourth.secret == third.secret || fourth.secret == (registry.Secret{}) || fourth.life != 1 || fourth.epoch != 0 {
		t.Errorf("after nonsense: %+v", fourth)
	}
	_ = fourth.close()
	alone, err := openInstance("")
	if err != nil || alone.secret == (registry.Secret{}) || alone.save(1) != nil || alone.close() != nil {
		t.Errorf("without a journal: %+v, %v", alone, err)
	}
}

func TestWhatClientsAreToldToConnectTo(t *testing.T) {
	for _, c := range []struct{ name, listens, advertise, want string }{
		{"the listener's own address", "127.0.0.2:80", "", "127.0.0.2:80"},
		{"of all addresses, that towards the tracker", "0.0.0.0:80", "", "127.0.0.1:80"},
		{"of all IPv6 addresses, too", "[::]:80", "", "127.0.0.1:80"},
		{"another host", "0.0.0.0:80", "pod-3", "pod-3:80"},
		{"another IPv6 host", "0.0.0.0:80", "[fd00::1]", "[fd00::1]:80"},
		{"another port", "0.0.0.0:80", "gate:443", "gate:443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := JoinOptions{Tracker: "127.0.0.1:9190", Advertise: c.advertise}
			if got, err := j.advertised(t.Context(), c.listens); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestASocketIsToldWithTheMachine(t *testing.T) {
	l, err := listenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j := JoinOptions{}
	at, err := j.endpoints(t.Context(), []net.Listener{l})
	if err != nil || at.Unix != l.Addr().String() || at.TCP != "" || at.Boot != BootID() || strings.ContainsAny(at.Boot, "\n ") {
		t.Errorf("%+v, %v", at, err)
	}
}

func TestFlagsOfARegistryThatAreWrongAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"--fence":                                `--fence: is of a registry, and there is none without --tracker`,
		"--tracker= --name=a":                    `--name: is of a registry, and there is none without --tracker`,
		"--tracker=host":                         `--tracker: address "host": want HOST:PORT: address host: missing port in address`,
		"--tracker=host:0":                       `--tracker: address "host:0": "0" is not a port (1 to 65535)`,
		"--tracker=h:1 --server-id=4294967296":   "--server-id: 4294967296 is not below 4294967296",
		"--tracker=h:1 --advertise=http://x:1/y": `--advertise: "http://x:1/y": want HOST or HOST:PORT`,
	} {
		var f Flags
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		f.Register(set)
		if err := set.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Join(); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	var f Flags
	f.Register(flag.NewFlagSet("test", flag.ContinueOnError))
	if j, err := f.Join(); j != nil || err != nil {
		t.Errorf("without a tracker: %v, %v", j, err)
	}
}
