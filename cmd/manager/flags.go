package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/controllers/trackers"
)

// config is the command line.
type config struct {
	kubeconfig string

	metrics        string
	metricsSecure  bool
	metricsCertDir string
	probes         string
	pprof          string

	elect         bool
	leaseName     string
	namespace     string
	leaseDuration time.Duration
	renewDeadline time.Duration
	retryPeriod   time.Duration

	watchNamespaces []string
	watchNodes      bool

	sidecarImage string
	pullPolicy   string
	resources    corev1.ResourceRequirements

	trackerHost  string
	trackerBind  string
	trackerPorts trackers.Ports
	settle       time.Duration
	fairShare    bool

	logFormat string
	logLevel  slog.Level
	version   bool
}

// parse reads the command line; an error says which flag is wrong.
func parse(args []string, stderr io.Writer) (*config, error) {
	c := &config{}
	flags := flag.NewFlagSet("rpcpool-manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c.register(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			usage(flags, stderr)
		}
		return nil, err //nolint:wrapcheck // says it all
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("argument %q: want flags only", flags.Arg(0))
	}
	if c.version {
		return c, nil
	}
	return c, c.check()
}

func (c *config) register(flags *flag.FlagSet) {
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`path` of a kubeconfig; default: $KUBECONFIG, or that of the pod")
	flags.StringVar(&c.metrics, "metrics-bind-address", ":8443", "`HOST:PORT` of /metrics; 0: none")
	flags.BoolVar(&c.metricsSecure, "metrics-secure", true, "serve metrics by HTTPS, to those whom the API server lets read /metrics")
	flags.StringVar(&c.metricsCertDir, "metrics-cert-dir", "", "`directory` of tls.crt and tls.key for metrics; default: a certificate made at start")
	flags.StringVar(&c.probes, "health-probe-bind-address", ":8081", "`HOST:PORT` of /healthz and /readyz; 0: none")
	flags.StringVar(&c.pprof, "pprof-bind-address", "0", "`HOST:PORT` of Go's profiles, which tell a lot: for loopback; 0: none")
	flags.BoolVar(&c.elect, "leader-elect", true, "let one of several operators lead")
	flags.StringVar(&c.leaseName, "leader-elect-resource-name", "rpcpool-operator", "`name` of the Lease")
	flags.StringVar(&c.namespace, "leader-elect-resource-namespace", os.Getenv("POD_NAMESPACE"), "`namespace` of the Lease; default: the pod's")
	flags.DurationVar(&c.leaseDuration, "leader-elect-lease-duration", 12*time.Second, "how long a leader that is not heard of leads yet")
	flags.DurationVar(&c.renewDeadline, "leader-elect-renew-deadline", 8*time.Second, "how long a leader tries to renew before it gives up")
	flags.DurationVar(&c.retryPeriod, "leader-elect-retry-period", time.Second, "pause between two attempts")
	flags.Func("watch-namespaces", "`namespaces` to look at, with commas between; default: all", func(s string) error {
		c.watchNamespaces = nil
		for name := range strings.SplitSeq(s, ",") {
			if name = strings.TrimSpace(name); name != "" {
				c.watchNamespaces = append(c.watchNamespaces, name)
			}
		}
		return nil
	})
	flags.BoolVar(&c.watchNodes, "watch-nodes", true, "watch nodes, to stop offering servers on those that are cordoned")
	flags.StringVar(&c.sidecarImage, "sidecar-image", "", "`image` of sidecars and agents, required")
	flags.StringVar(&c.pullPolicy, "sidecar-image-pull-policy", "", "Always, IfNotPresent or Never; default: Kubernetes'")
	flags.Func("sidecar-resources", "`JSON` of a container's resources, for sidecars, to which memory for native calls is added; default: requests of 20m and 32Mi, a limit of 128Mi", func(s string) (err error) {
		c.resources, err = parseResources(s)
		return err
	})
	flags.StringVar(&c.trackerHost, "tracker-host", os.Getenv("POD_IP"), "`address` at which the trackers here are reached; default: the pod's")
	flags.StringVar(&c.trackerBind, "tracker-bind-host", "", "`address` that trackers listen on; default: all")
	flags.Func("tracker-ports", "`FIRST-LAST`, the ports that trackers listen on; default: any", func(s string) (err error) {
		c.trackerPorts, err = trackers.ParsePorts(s)
		return err
	})
	flags.DurationVar(&c.settle, "tracker-settle", 2*time.Second, "how long a tracker that has started waits for servers and clients to come back before it grants")
	flags.BoolVar(&c.fairShare, "fair-share", true, "among requests of one priority, serve first the client that holds the fewest devices; false: by arrival")
	flags.StringVar(&c.logFormat, "log-format", "json", "text or json")
	flags.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.BoolVar(&c.version, "version", false, "print the version and exit")
}

// parseResources reads requests and limits.
func parseResources(text string) (r corev1.ResourceRequirements, err error) {
	in := json.NewDecoder(strings.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&r); err != nil {
		return r, fmt.Errorf("want an object with requests and limits: %w", err)
	}
	if len(r.Claims) > 0 {
		return r, errors.New("claims are the pools'")
	}
	for name, request := range r.Requests {
		if limit, ok := r.Limits[name]; ok && request.Cmp(limit) > 0 {
			return r, fmt.Errorf("%s is requested, and %s of %s is the limit", request.String(), limit.String(), name)
		}
	}
	return r, nil
}

func (c *config) check() error {
	switch corev1.PullPolicy(c.pullPolicy) {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return fmt.Errorf("--sidecar-image-pull-policy: %q: want Always, IfNotPresent or Never", c.pullPolicy)
	}
	for name, address := range map[string]string{"metrics-bind-address": c.metrics, "health-probe-bind-address": c.probes, "pprof-bind-address": c.pprof} {
		if _, _, err := net.SplitHostPort(address); address != "0" && err != nil {
			return fmt.Errorf("--%s: %q: want HOST:PORT, or 0", name, address)
		}
	}
	if _, err := netip.ParseAddr(c.trackerHost); err != nil {
		return fmt.Errorf("--tracker-host: %q is not an IP address", c.trackerHost)
	}
	switch {
	case c.sidecarImage == "":
		return errors.New("--sidecar-image: want the image of sidecars and agents")
	case c.logFormat != "text" && c.logFormat != "json":
		return fmt.Errorf("--log-format: %q: want text or json", c.logFormat)
	case c.settle < 0:
		return fmt.Errorf("--tracker-settle: %s is negative", c.settle)
	case c.elect && (c.retryPeriod <= 0 || c.renewDeadline <= c.retryPeriod || c.leaseDuration <= c.renewDeadline):
		return fmt.Errorf("--leader-elect-lease-duration %s, --leader-elect-renew-deadline %s, --leader-elect-retry-period %s: want each longer than the next",
			c.leaseDuration, c.renewDeadline, c.retryPeriod)
	}
	return c.checkLease()
}

// checkLease refuses leases by which two operators could lead at a time. A Lease
// has its duration in whole seconds, and the others see a renewal in whole
// seconds too: one may come to lead a second before the lease is over.
func (c *config) checkLease() error {
	switch {
	case !c.elect:
		return nil
	case c.leaseDuration%time.Second != 0:
		return fmt.Errorf("--leader-elect-lease-duration: %s is not a number of whole seconds", c.leaseDuration)
	case c.leaseDuration-c.renewDeadline <= time.Second:
		return fmt.Errorf("--leader-elect-renew-deadline: %s: want more than a second less than the lease's %s", c.renewDeadline, c.leaseDuration)
	}
	return nil
}

func usage(flags *flag.FlagSet, w io.Writer) {
	_, _ = fmt.Fprint(w, `Reconcile RPCPools, and run the trackers of their servers.

Usage:
  rpcpool-manager --sidecar-image IMAGE [flags]

Example:
  rpcpool-manager --kubeconfig ~/.kube/config --leader-elect=false --metrics-secure=false \
    --metrics-bind-address 127.0.0.1:8080 --tracker-host 192.0.2.1 --sidecar-image rpcpool:devel

Flags:
`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}
