package trackers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/naming/export"
	"rpcpool.dev/rpc/registry"
	"rpcpool.dev/tracker"
)

// ID names a tracker: its namespace and its name.
type ID = types.NamespacedName

// ErrClosed is what Ensure returns when the operator does not lead any more.
var ErrClosed = errors.New("trackers: closed")

// Ports is a range of TCP ports, both ends included. The zero value means any
// free port.
type Ports struct{ First, Last uint16 }

// ParsePorts reads FIRST-LAST, a single port, or nothing (any free port).
func ParsePorts(s string) (Ports, error) {
	if s == "" {
		return Ports{}, nil
	}
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	if err != nil || a == 0 {
		return Ports{}, fmt.Errorf("port range %q: %q is not a port (1 to 65535)", s, first)
	}
	b, err := strconv.ParseUint(last, 10, 16)
	if err != nil || b < a {
		return Ports{}, fmt.Errorf("port range %q: %q is not a port from %d to 65535", s, last, a)
	}
	return Ports{First: uint16(a), Last: uint16(b)}, nil
}

// String is what ParsePorts reads.
func (p Ports) String() string {
	switch {
	case p == Ports{}:
		return ""
	case p.First == p.Last:
		return strconv.Itoa(int(p.First))
	default:
		return fmt.Sprintf("%d-%d", p.First, p.Last)
	}
}

// Options of a [Set].
type Options struct {
	// Host is the address that listeners bind; empty: all.
	Host string
	// Ports to listen on.
	Ports Ports
	// FairShare and Settle are those of each tracker ([tracker.Options]).
	FairShare bool
	Settle    time.Duration
	// Changed is called when something happened at a tracker, for a device key;
	// with an empty key, that it began or ceased to listen, or has settled, or its
	// registry has. It must not block.
	Changed func(id ID, key string)
	// Registerer gets each tracker's metrics, with the labels namespace and
	// tracker; nil: there are none.
	Registerer prometheus.Registerer
	// Logger of the trackers; nil: none.
	Logger *slog.Logger

	lease registry.Lease // of registries, for tests
}

// Set is the trackers that run. Make it by [NewSet]; its methods may be called
// from any goroutine.
type Set struct {
	options Options

	mu      sync.Mutex
	running map[ID]*running
	closed  bool
	term    uint32 // of the last registry of native servers that began
	group   sync.WaitGroup
}

// running is one tracker.
type running struct {
	server *tracker.Server
	host   *naming.Host
	port   uint16
	stop   context.CancelFunc
}

// NewSet returns a set of no trackers.
func NewSet(o Options) *Set {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func(ID, string) {}
	}
	if o.lease == (registry.Lease{}) {
		o.lease = registry.DefaultLease()
	}
	return &Set{options: o, running: map[ID]*running{}}
}

// Start waits until ctx ends and then stops every tracker. No tracker is left
// when it returns, and none can be started any more.
func (s *Set) Start(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	for _, r := range s.running {
		r.stop()
	}
	s.mu.Unlock()
	s.group.Wait()
	return nil
}

// NeedLeaderElection makes the manager run Start on the leader only.
func (s *Set) NeedLeaderElection() bool { return true }

// Get returns the tracker that runs under id; nil: none does.
func (s *Set) Get(id ID) *tracker.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[id]; r != nil {
		return r.server
	}
	return nil
}

// Joins tells whether the registry of the tracker under id takes in servers of native calls
// that it did not have before.
func (s *Set) Joins(id ID) bool {
	s.mu.Lock()
	r := s.running[id]
	s.mu.Unlock()
	return r != nil && !r.host.Settling()
}

// Ensure makes sure that a tracker listens under id, and returns its port.
func (s *Set) Ensure(ctx context.Context, id ID) (port uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := s.running[id]; {
	case s.closed:
		return 0, ErrClosed
	case r != nil:
		return r.port, nil
	}
	l, err := s.listen(ctx, id)
	if err != nil {
		return 0, err
	}
	return s.run(id, l)
}

// run serves l. It is called with the lock held.
func (s *Set) run(id ID, l net.Listener) (port uint16, err error) {
	log := s.options.Logger.With("namespace", id.Namespace, "tracker", id.Name)
	m, err := s.metrics(id)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("tracker %s: metrics: %w", id, err), l.Close())
	}
	// Who led before began earlier by a lease at least, which clocks differ less than.
	s.term = max(s.term+1, uint32(time.Now().Unix()))
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: s.term, Lease: s.options.lease}}, log)
	if err != nil {
		m.Unregister()
		return 0, errors.Join(fmt.Errorf("tracker %s: %w", id, err), l.Close())
	}
	unexport, err := s.export(id, host)
	if err != nil {
		m.Unregister()
		return 0, errors.Join(fmt.Errorf("tracker %s: %w", id, err), l.Close(), host.Close())
	}
	r := &running{host: host, server: tracker.NewServer(tracker.Options{
		Logger: log, Metrics: m, FairShare: s.options.FairShare, Settle: s.options.Settle,
		Changed: func(key string) { s.options.Changed(id, key) }, Native: host.Take,
	})}
	if addr, err := netip.ParseAddrPort(l.Addr().String()); err == nil {
		r.port = addr.Port()
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	s.running[id] = r
	joins := time.AfterFunc(s.options.lease.Fence, func() { s.options.Changed(id, "") })
	s.group.Go(func() {
		defer r.stop()
		defer joins.Stop()
		err := errors.Join(r.server.Serve(ctx, l), host.Close())
		m.Unregister()
		unexport()
		s.forget(id, r)
		if err != nil {
			log.Error("tracker failed", "error", err)
		}
		s.options.Changed(id, "")
	})
	log.Info("tracker listens", "address", l.Addr().String())
	return r.port, nil
}

func (s *Set) metrics(id ID) (*tracker.Metrics, error) {
	if s.options.Registerer == nil {
		return nil, nil
	}
	return tracker.NewMetrics(s.registerer(id))
}

// export shows what a tracker's registry has, until what it returns is called.
func (s *Set) export(id ID, host *naming.Host) (end func(), err error) {
	if s.options.Registerer == nil {
		return func() {}, nil
	}
	c, err := export.Register(s.registerer(id), host)
	if err != nil {
		return nil, err
	}
	return c.Unregister, nil
}

func (s *Set) registerer(id ID) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"namespace": id.Namespace, "tracker": id.Name}, s.options.Registerer)
}

// Notes are what servers of native calls say at a tracker's registry of themselves, by their
// name there.
func (s *Set) Notes(id ID) map[string]string {
	s.mu.Lock()
	r := s.running[id]
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	notes := map[string]string{}
	for _, i := range r.host.Instances() {
		if i.Note != "" && i.State == registry.StateAlive {
			notes[i.ID] = i.Note
		}
	}
	return notes
}

// Stop ends the tracker under id, if one runs. It does not wait for that.
func (s *Set) Stop(id ID) {
	s.mu.Lock()
	r := s.running[id]
	s.mu.Unlock()
	if r != nil {
		r.stop()
	}
}

func (s *Set) forget(id ID, r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[id] == r {
		delete(s.running, id)
	}
}

// listen opens the first free port of the range, beginning at a place that
// depends on the name.
func (s *Set) listen(ctx context.Context, id ID) (net.Listener, error) {
	var config net.ListenConfig
	ports := s.options.Ports
	if ports == (Ports{}) {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(s.options.Host, "0"))
		if err != nil {
			return nil, fmt.Errorf("tracker %s: %w", id, err)
		}
		return l, nil
	}
	n := int(ports.Last) - int(ports.First) + 1
	for i, start := 0, place(id, n); i < n; i++ {
		port := int(ports.First) + (start+i)%n
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(s.options.Host, strconv.Itoa(port)))
		switch {
		case err == nil:
			return l, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("tracker %s: %w", id, err)
		}
	}
	return nil, fmt.Errorf("tracker %s: all ports from %s are in use", id, ports)
}

func place(id ID, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id.String())) // cannot fail
	return int(h.Sum32() % uint32(n))
}
