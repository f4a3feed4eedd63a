package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/rdma/device"
)

// devices are the RDMA devices that the server was promised: what is true of them, for
// those who ask. A nil one was promised none.
type devices struct {
	promise device.Promise
	service string
	log     *slog.Logger
	servers *prometheus.GaugeVec

	mu   sync.Mutex
	last device.Report // zero: nobody has looked yet
}

// newDevices returns nil if none were promised.
func newDevices(p device.Promise, service string, metrics prometheus.Registerer, log *slog.Logger) (*devices, error) {
	if !p.Mode.On() {
		return nil, nil
	}
	d := &devices{promise: p, service: service, log: log, servers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rpcpool_rdma_servers",
		Help: "Servers that were promised RDMA devices, by what is true of these: DevicesReady, or the reason why they cannot be used.",
	}, []string{"key", "reason"})}
	if err := metrics.Register(d.servers); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return d, nil
}

// run looks until ctx ends.
func (d *devices) run(ctx context.Context) { d.promise.Watch(ctx, d.log, d.heed) }

// heed notes what is true, if it is news.
func (d *devices) heed(r device.Report) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.last
	if was.Reason == r.Reason && was.Message == r.Message {
		return
	}
	d.last = r
	if was.Reason != "" {
		d.servers.WithLabelValues(d.service, string(was.Reason)).Dec()
	}
	d.servers.WithLabelValues(d.service, string(r.Reason)).Inc()
	if r.Reason == device.DevicesReady {
		d.log.Info("RDMA devices can be used", "devices", r.Message)
		return
	}
	d.log.Warn("RDMA devices cannot be used", "reason", string(r.Reason), "message", r.Message, "mode", string(d.promise.Mode))
}

// ready is why a server that must have RDMA takes no calls; nil: it may.
func (d *devices) ready() error {
	if d == nil || d.promise.Mode != device.Required {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.last.Reason {
	case device.DevicesReady:
		return nil
	case "":
		return errors.New("looking at the RDMA devices")
	default:
		return fmt.Errorf("RDMA is required: %s: %s", d.last.Reason, d.last.Message)
	}
}

// note is what the registry is told: the reason and, after a colon, its circumstances.
func (d *devices) note() string {
	if d == nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last.Reason == "" {
		return ""
	}
	return string(d.last.Reason) + ": " + d.last.Message
}
