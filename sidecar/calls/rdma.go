package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/keeper"
)

// devices are the RDMA devices that the server was promised: what is true of them, for
// those who ask, and what blobs go by. A nil one was promised none.
type devices struct {
	mode    device.Mode
	keeper  *keeper.Keeper
	service string
	servers *prometheus.GaugeVec

	mu   sync.Mutex
	last device.Report // zero: nobody has looked yet
}

// newDevices returns nil if none were promised.
func newDevices(o keeper.Options, service string, metrics prometheus.Registerer, log *slog.Logger) (*devices, error) {
	if !o.Promise.Mode.On() {
		return nil, nil
	}
	o.Log = log
	d := &devices{mode: o.Promise.Mode, service: service, keeper: keeper.New(o), servers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rpcpool_rdma_servers",
		Help: "Servers that were promised RDMA devices, by what is true of these: DevicesReady, or the reason why they cannot be used.",
	}, []string{"key", "reason"})}
	if err := metrics.Register(d.servers); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return d, nil
}

// refuse is why a server need not start: it must have RDMA, this program never will, and
// there is no registry to be told so.
func (d *devices) refuse(registry bool) error {
	if d == nil || d.mode != device.Required || registry || d.keeper.NoDriver() == nil {
		return nil
	}
	return fmt.Errorf("--rdma-mode: required, but %w", d.keeper.NoDriver())
}

// mover is what blobs of clients of other machines go by; nil: nothing but their connections.
func (d *devices) mover() remote.Mover {
	if d == nil {
		return nil
	}
	return d.keeper
}

// run looks until ctx ends.
func (d *devices) run(ctx context.Context) { d.keeper.Watch(ctx, d.heed) }

// close gives the devices back, when nobody has blobs any more.
func (d *devices) close() error {
	if d == nil {
		return nil
	}
	return d.keeper.Close() //nolint:wrapcheck // it says all
}

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
}

// ready is why a server that must have RDMA takes no calls; nil: it may.
func (d *devices) ready() error {
	if d == nil || d.mode != device.Required {
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
