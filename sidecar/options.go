package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// Options configures a [Server]. Zero values mean the defaults that the fields
// state; fields without one must be set.
type Options struct {
	// Key is the device key that clients ask for.
	Key string
	// Listener accepts clients. The server closes it.
	Listener *net.TCPListener
	// Tracker is the tracker's HOST:PORT. Empty: direct mode; clients connect
	// with the device key itself and are served in turn.
	Tracker string
	// Advertise is the host that clients are told to connect to. Empty: the
	// address that the tracker sees.
	Advertise string
	// Name is what people call the server and Instance what no other server is
	// ever called, such as its pod's name and UID; the tracker is told. Empty: it
	// is not.
	Name, Instance string
	// AgentSocket is the path of the agent's Unix socket.
	AgentSocket string
	// Command is the worker's program and arguments. Empty: the agent's default.
	Command []string
	// Env is added to the workers' environment, as NAME=VALUE.
	Env []string
	// Flavour is the session encoding of the workers, in which exceptions are
	// written to clients. Auto (the default) asks a worker once at start.
	Flavour tvm.Flavour
	// Warm is how many workers wait, started ahead, for a session. 0: a worker
	// is started when a session begins.
	Warm int
	// SessionTimeout.Default (10m) applies if the client asks for none;
	// SessionTimeout.Max (1h) caps what it asks for.
	SessionTimeout struct{ Default, Max time.Duration }
	// HandshakeTimeout (5s) bounds a handshake.
	HandshakeTimeout time.Duration
	// StartTimeout (30s) bounds the time until a worker is ready.
	StartTimeout time.Duration
	// KillGrace (2s) is the time between SIGTERM and SIGKILL, and how long a
	// worker may take to notice that its client is gone.
	KillGrace time.Duration
	// ReapTimeout (10s) is how long a worker may outlive SIGKILL before its
	// device is withdrawn.
	ReapTimeout time.Duration
	// DrainTimeout is how long a session may go on after Run's context ends.
	// 0: it is killed at once.
	DrainTimeout time.Duration
	// DrainingFile says since when the server is to go, in RFC 3339, if it is to. It
	// is read when the agent is told to stop: DrainTimeout runs from then. Empty:
	// there is none.
	DrainingFile string
	// Isolation is what stands between two sessions; the default is
	// [IsolationFork].
	Isolation Isolation
	// Heartbeat is how long the worker's loop may be silent, once it has beaten.
	// 0: heartbeats are not asked for.
	Heartbeat time.Duration
	// Budgets bound the phases of a session that the worker names.
	Budgets map[supervise.Phase]time.Duration
	// Dump is sent to a worker that ignores SIGTERM before it gets SIGKILL, so
	// that it leaves its stacks (SIGQUIT) or a core (SIGABRT). 0: nothing is.
	Dump syscall.Signal
	// Limits bound what one worker's tree may use, as far as the machine allows.
	Limits supervise.Limits
	// Quarantine withdraws the device after Failures (5) starts that failed
	// within Window (60s).
	Quarantine struct {
		Failures int
		Window   time.Duration
	}
	// RDMA says which RDMA devices the server was promised; default: none.
	RDMA rdma.Promise
	// Metrics receives what happens; nil: nobody does.
	Metrics *Metrics
	// Logger (slog.Default) gets one record a session and one a transition.
	Logger *slog.Logger
}

// Isolation is what stands between two sessions of a server.
type Isolation string

// Kinds of isolation.
const (
	// IsolationFork runs every session in a worker process of its own.
	IsolationFork Isolation = "fork"
	// IsolationWatchdog runs one long-lived worker that serves the sessions
	// itself, ends by itself at a session's deadline and is restarted.
	IsolationWatchdog Isolation = "watchdog"
)

// defaulted fills in defaults and checks what has none.
func (o Options) defaulted() (Options, error) {
	if err := tvm.ValidateDeviceKey(o.Key); err != nil {
		return o, fmt.Errorf("device key: %w", err)
	}
	if o.Listener == nil {
		return o, errors.New("no listener")
	}
	if o.AgentSocket == "" {
		return o, errors.New("no agent socket")
	}
	if err := checkName(o.Name); err != nil {
		return o, fmt.Errorf("name: %w", err)
	}
	if err := checkName(o.Instance); err != nil {
		return o, fmt.Errorf("instance: %w", err)
	}
	setDefault(&o.SessionTimeout.Max, time.Hour)
	setDefault(&o.SessionTimeout.Default, min(10*time.Minute, o.SessionTimeout.Max))
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.StartTimeout, 30*time.Second)
	setDefault(&o.KillGrace, 2*time.Second)
	setDefault(&o.ReapTimeout, 10*time.Second)
	setDefault(&o.Quarantine.Failures, 5)
	setDefault(&o.Quarantine.Window, time.Minute)
	setDefault(&o.Isolation, IsolationFork)
	setDefault(&o.RDMA.Count, 1)
	if o.Isolation != IsolationFork && o.Isolation != IsolationWatchdog {
		return o, fmt.Errorf("isolation %q: want %s or %s", o.Isolation, IsolationFork, IsolationWatchdog)
	}
	if o.SessionTimeout.Default > o.SessionTimeout.Max {
		return o, fmt.Errorf("default session timeout %s is over the maximum of %s",
			o.SessionTimeout.Default, o.SessionTimeout.Max)
	}
	if o.Warm < 0 {
		return o, fmt.Errorf("%d warm workers: want 0 or more", o.Warm)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Logger = o.Logger.With("key", o.Key, "server", o.Listener.Addr().String())
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// policy is the part of the options that package supervise decides by.
func (o Options) policy() supervise.Policy {
	return supervise.Policy{
		Warm:               o.Warm,
		LongLived:          o.Isolation == IsolationWatchdog,
		RefillPause:        refillPause,
		BackoffMin:         100 * time.Millisecond,
		BackoffMax:         30 * time.Second,
		QuarantineFailures: o.Quarantine.Failures,
		QuarantineWindow:   o.Quarantine.Window,
		Random:             mathrand.Float64,
	}
}

// start is how every worker of this server is started.
func (o Options) start() supervise.Start {
	return supervise.Start{
		Argv: o.Command, Env: o.Env,
		StartTimeout: o.StartTimeout, KillGrace: o.KillGrace, ReapTimeout: o.ReapTimeout,
		LongLived: o.Isolation == IsolationWatchdog,
		Dump:      o.Dump, Heartbeat: o.Heartbeat, Budgets: o.Budgets, Limits: o.Limits,
	}
}

// refillPause keeps the start of the next spare out of the first moments of a
// session, in which its client waits for the first answers.
const refillPause = 5 * time.Millisecond

// warnUnbounded says once a connection which of the limits that were asked for
// the agent cannot enforce. It returns their names, sorted, with commas between.
func (o Options) warnUnbounded(unbounded map[string]string) string {
	var asked []string
	for _, limit := range slices.Sorted(maps.Keys(unbounded)) {
		if o.Limits.Has(limit) {
			o.Logger.Warn("limit is not enforced here", "limit", limit, "reason", unbounded[limit])
			asked = append(asked, limit)
		}
	}
	return strings.Join(asked, ",")
}

// sessionTimeout is the session's length at most: what the client asked for,
// capped; the default if it asked for nothing sensible. clamped tells whether
// the client gets less than it asked for.
func (o Options) sessionTimeout(h tvm.ClientHello) (d time.Duration, clamped bool) {
	switch {
	case !h.HasTimeout:
		return o.SessionTimeout.Default, false
	case h.Timeout > o.SessionTimeout.Max:
		return o.SessionTimeout.Max, true
	default:
		return h.Timeout, false
	}
}
