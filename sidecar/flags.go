package sidecar

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"rpcpool.dev/internal/tcp"
	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/tvm"
)

// maxWarm bounds --warm. More would only wait: a device runs one session at a
// time, and the agent takes a bounded number of workers.
const maxWarm = 64

// maxName is the length of --name and --instance at most, in bytes: that of a
// name in Kubernetes.
const maxName = 253

// maxHost is the length of a DNS name at most, in bytes.
const maxHost = 253

// Flags are the command-line flags of a server, the same in every program that
// runs one.
type Flags struct {
	options   Options
	listen    string
	flavour   string
	isolation string
	bounds    boundFlags
	rdma      rdma.Flags
}

// Register adds the flags to a flag set.
func (f *Flags) Register(flags *flag.FlagSet) {
	o := &f.options
	flags.StringVar(&o.Key, "key", "", "device `key` that clients ask for (required)")
	flags.StringVar(&f.listen, "listen", "0.0.0.0:9090", "`HOST:PORT` for clients; the port may be 0 or a range such as 9090-9199")
	flags.StringVar(&o.Tracker, "tracker", "", "`HOST:PORT` of the tracker; empty: none, clients connect directly")
	flags.StringVar(&o.Advertise, "advertise", "", "`HOST` that clients are told to connect to; empty: the address that the tracker sees")
	flags.StringVar(&o.Name, "name", "", "what people call this `server`, for the tracker, such as its pod's name; empty: nothing")
	flags.StringVar(&o.Instance, "instance", "", "`id` that no other server ever has, for the tracker, such as its pod's UID; empty: none")
	flags.StringVar(&f.flavour, "flavour", "auto", "session `encoding` of the worker: auto (ask it), A (TVM v0.7 to v0.20), B (v0.21), C (v0.22 and later)")
	flags.StringVar(&f.isolation, "isolation", string(IsolationFork), "`mode`: fork (a worker process for each session) or watchdog (a long-lived worker, restarted if a session hangs or kills it)")
	flags.IntVar(&o.Warm, "warm", 1, "`workers` that wait, started ahead, for a session; at most 64; 0 starts one when a session begins (watchdog: keeps one)")
	flags.DurationVar(&o.SessionTimeout.Default, "session-timeout-default", 10*time.Minute, "session length at most, if the client asks for none")
	flags.DurationVar(&o.SessionTimeout.Max, "session-timeout-max", time.Hour, "session length at most, whatever the client asks for")
	flags.DurationVar(&o.HandshakeTimeout, "handshake-timeout", 5*time.Second, "time for a handshake")
	flags.DurationVar(&o.StartTimeout, "start-timeout", 30*time.Second, "time for a worker to become ready")
	flags.DurationVar(&o.KillGrace, "kill-grace", 2*time.Second, "time between SIGTERM and SIGKILL")
	flags.DurationVar(&o.ReapTimeout, "reap-timeout", 10*time.Second, "time that a worker may outlive SIGKILL before its device is withdrawn")
	flags.DurationVar(&o.DrainTimeout, "drain-timeout", 0, "how long a session may go on after SIGTERM; 0 kills it")
	flags.StringVar(&o.DrainingFile, "draining-file", "", "`FILE` that says since when the server is to go, in RFC 3339: --drain-timeout runs from then; empty: none does")
	flags.IntVar(&o.Quarantine.Failures, "quarantine-failures", 5, "`starts` that failed, within the window, after which the device is withdrawn")
	flags.DurationVar(&o.Quarantine.Window, "quarantine-window", time.Minute, "window of --quarantine-failures")
	f.bounds.register(flags, o)
	f.rdma.Register(flags)
}

// Options checks the flags and opens the listener. An error names the flag that
// is wrong.
func (f *Flags) Options() (Options, error) {
	if err := f.check(); err != nil {
		return Options{}, err
	}
	o := f.options
	listener, err := tcp.Listen(f.listen)
	if err != nil {
		return Options{}, fmt.Errorf("--listen: %w", err)
	}
	o.Listener = listener
	return o, nil
}

func (f *Flags) check() error {
	o := &f.options
	if err := tvm.ValidateDeviceKey(o.Key); err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	if err := checkTracker(o.Tracker); err != nil {
		return fmt.Errorf("--tracker: %w", err)
	}
	if err := checkHost(o.Advertise); o.Advertise != "" && err != nil {
		return fmt.Errorf("--advertise: %w", err)
	}
	if err := checkName(o.Name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if err := checkName(o.Instance); err != nil {
		return fmt.Errorf("--instance: %w", err)
	}
	flavour, err := tvm.ParseFlavour(f.flavour)
	if err != nil {
		return fmt.Errorf("--flavour: %w", err)
	}
	o.Flavour = flavour
	if o.Isolation, err = ParseIsolation(f.isolation); err != nil {
		return fmt.Errorf("--isolation: %w", err)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"session-timeout-default", o.SessionTimeout.Default},
		{"session-timeout-max", o.SessionTimeout.Max},
		{"handshake-timeout", o.HandshakeTimeout},
		{"start-timeout", o.StartTimeout},
		{"kill-grace", o.KillGrace},
		{"reap-timeout", o.ReapTimeout},
		{"quarantine-window", o.Quarantine.Window},
	} {
		if d.value <= 0 {
			return fmt.Errorf("--%s: %s is not a positive duration", d.flag, d.value)
		}
	}
	switch {
	case o.SessionTimeout.Default > o.SessionTimeout.Max:
		return fmt.Errorf("--session-timeout-default: %s is over --session-timeout-max %s", o.SessionTimeout.Default, o.SessionTimeout.Max)
	case o.Warm < 0 || o.Warm > maxWarm:
		return fmt.Errorf("--warm: %d is not between 0 and %d", o.Warm, maxWarm)
	case o.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout: %s is negative", o.DrainTimeout)
	case o.Quarantine.Failures <= 0:
		return errors.New("--quarantine-failures: want 1 or more")
	}
	promise, err := f.rdma.Promise()
	if err != nil {
		return err //nolint:wrapcheck // names the flag
	}
	o.RDMA = promise
	return f.bounds.check(o)
}

// checkTracker tells whether addr is HOST:PORT that can be connected to, or
// empty.
func checkTracker(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: want HOST:PORT: %w", addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: %q is not a port (1 to 65535)", addr, port)
	}
	if err := checkHost(host); err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	return nil
}

// checkName tells whether s can be shown to people in a line of text.
func checkName(s string) error {
	switch {
	case len(s) > maxName:
		return fmt.Errorf("%d bytes: want at most %d", len(s), maxName)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not UTF-8", s)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%q has characters that cannot be printed", s)
	}
	return nil
}

// checkHost tells whether host can be a name or an IP address. Names are
// checked loosely: resolvers know more of them than DNS has.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil && !strings.ContainsFunc(host, notInZone) {
		return nil
	}
	switch {
	case host == "":
		return errors.New(`host "" is empty`)
	case len(host) > maxHost:
		return fmt.Errorf("host of %d bytes: want at most %d", len(host), maxHost)
	case strings.ContainsFunc(host, notInName) || !strings.ContainsFunc(host, isLetterOrDigit):
		return fmt.Errorf("host %q: want a name or an IP address, without port and brackets", host)
	}
	return nil
}

func isLetterOrDigit(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

func notInName(r rune) bool { return !isLetterOrDigit(r) && !strings.ContainsRune("-_.", r) }
func notInZone(r rune) bool { return notInName(r) && r != ':' && r != '%' }
