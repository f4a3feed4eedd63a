package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rpcpool.dev/controllers"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/trackers"
	"rpcpool.dev/internal/metrics"
)

// stopTimeout is how long the controllers may take to end.
const stopTimeout = 10 * time.Second

// lingerTime is how long a leader that has ended in order, and given up its lease, is
// there yet. The nodes take up to a second to hear that it has no tracker any more;
// whoever connects to it meanwhile is refused at once, which a pod that is gone would not
// do: what is sent to its address is lost, and a client would wait for seconds.
const lingerTime = 2 * time.Second

// manage runs the operator until ctx ends or it leads no more. The process must
// end when it returns.
func (c *config) manage(ctx context.Context, stderr io.Writer) error {
	log := c.logger(stderr)
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	config, err := c.restConfig()
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	c.takeOver(ctx, config, log)
	mgr, err := ctrl.NewManager(config, c.options())
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := crmetrics.Registry.Register(metrics.BuildInfo()); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := controllers.Setup(ctx, mgr, controllers.Options{
		Settings: build.Settings{Image: c.sidecarImage, PullPolicy: corev1.PullPolicy(c.pullPolicy), Resources: c.resources},
		Trackers: trackers.Options{
			Host: c.trackerBind, Ports: c.trackerPorts, FairShare: c.fairShare, Settle: c.settle,
		},
		TrackerHost: c.trackerHost, Nodes: c.watchNodes,
		Registerer: crmetrics.Registry, Logger: log, Now: time.Now,
	}); err != nil {
		return err //nolint:wrapcheck // says what it is about
	}
	if err := probes(mgr); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	select {
	case <-mgr.Elected():
		time.Sleep(lingerTime)
	default:
	}
	return nil
}

// takeOver ends the wait for a predecessor that is known to be dead. Where it fails,
// its lease ends by itself.
func (c *config) takeOver(ctx context.Context, config *rest.Config, log *slog.Logger) {
	if !c.elect {
		return
	}
	client, err := coordinationv1.NewForConfig(config)
	hostname, hostErr := os.Hostname()
	if err = errors.Join(err, hostErr); err == nil {
		ctx, cancel := context.WithTimeout(ctx, c.renewDeadline)
		defer cancel()
		var got bool
		if got, err = inherit(ctx, client.Leases(c.namespace), c.leaseName, os.Getenv("POD_NAME"), hostname, time.Now()); got {
			log.Info("the lease of this container's last process is given up")
		}
	}
	if err != nil {
		log.Warn("cannot look whether this container's last process led", "error", err)
	}
}

// options are those of the manager.
func (c *config) options() manager.Options {
	timeout := stopTimeout
	o := controllers.ManagerOptions(c.watchNamespaces)
	o.Metrics = c.metricsOptions()
	o.HealthProbeBindAddress = c.probes
	o.PprofBindAddress = c.pprof
	o.LeaderElection = c.elect
	o.LeaderElectionID, o.LeaderElectionNamespace = c.leaseName, c.namespace
	o.LeaderElectionReleaseOnCancel = true // main ends the process at once
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = &c.leaseDuration, &c.renewDeadline, &c.retryPeriod
	o.GracefulShutdownTimeout = &timeout
	return o
}

func (c *config) metricsOptions() metricsserver.Options {
	o := metricsserver.Options{BindAddress: c.metrics, SecureServing: c.metricsSecure, CertDir: c.metricsCertDir}
	if c.metricsSecure {
		o.FilterProvider = guarded
		// HTTP/2 lets an unauthenticated peer make more work than it has: nothing
		// here needs it.
		o.TLSOpts = []func(*tls.Config){func(t *tls.Config) { t.NextProtos = []string{"http/1.1"} }}
	}
	return o
}

// probes are the operator's own. It is ready when it has a picture of the
// cluster, as a follower too: it can lead from one moment to the next.
func probes(mgr manager.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("healthz: %w", err)
	}
	picture := &synced{cache: mgr.GetCache()}
	if err := mgr.Add(picture); err != nil {
		return fmt.Errorf("readyz: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", picture.check); err != nil {
		return fmt.Errorf("readyz: %w", err)
	}
	return nil
}

// synced knows whether a cache has been filled.
type synced struct {
	cache cache.Cache
	done  atomic.Bool
}

// Start waits for the cache.
func (s *synced) Start(ctx context.Context) error {
	s.done.Store(s.cache.WaitForCacheSync(ctx))
	return nil
}

// NeedLeaderElection makes the manager run Start in followers too.
func (s *synced) NeedLeaderElection() bool { return false }

func (s *synced) check(*http.Request) error {
	if !s.done.Load() {
		return errors.New("caches are not synced")
	}
	return nil
}

func (c *config) restConfig() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what it is about
	}
	config.UserAgent = "rpcpool-operator"
	config.QPS = -1 // the API server's own flow control is enough
	return config, nil
}

func (c *config) logger(stderr io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.logLevel}
	log := slog.New(slog.NewJSONHandler(stderr, options))
	if c.logFormat == "text" {
		log = slog.New(slog.NewTextHandler(stderr, options))
	}
	if pod := os.Getenv("POD_NAME"); pod != "" {
		log = log.With("operator", pod)
	}
	return log
}
