package sidecar

import (
	"context"
	"time"

	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/tvm"
)

// Periods of the look at the RDMA devices. A link that goes down withdraws the
// device within the first, a driver that hangs within both.
const (
	rdmaPeriod   = 5 * time.Second
	rdmaPatience = 5 * time.Second
)

// RDMA is which RDMA devices the server was promised, and what becomes of it
// while they cannot be used. The zero value is none.
type RDMA struct {
	Mode rdma.Mode
	rdma.Want
	// Host is where the devices are looked up; the zero value is this machine.
	Host rdma.Host
}

// rdmaWatch looks at the devices again and again. It has no memory: it tells
// everything that it sees.
type rdmaWatch struct {
	check            func() rdma.Report
	tell             func(rdma.Report)
	period, patience time.Duration
}

// run looks until ctx ends. A look that a driver keeps from returning is left
// behind then, in a goroutine of its own.
func (w *rdmaWatch) run(ctx context.Context) {
	for ctx.Err() == nil {
		seen := make(chan rdma.Report, 1)
		go func() { seen <- w.check() }()
		select {
		case r := <-seen:
			w.tell(r)
		case <-ctx.Done():
			return
		case <-time.After(w.patience):
			w.tell(rdma.Silent(w.patience))
			select { // the next look would hang as well
			case r := <-seen:
				w.tell(r)
			case <-ctx.Done():
				return
			}
		}
		pause(ctx, w.period)
	}
}

// rdmaSeen brings in what is true of the RDMA devices.
func (c *core) rdmaSeen(r rdma.Report) {
	select {
	case c.reports <- r:
	case <-c.done:
	}
}

// heed notes what is true of the RDMA devices, if it is news.
func (c *core) heed(r rdma.Report) {
	news := tvm.RDMAInfo{Reason: string(r.Reason), Message: r.Message}
	if news == c.rdma {
		return
	}
	c.meter.rdmaBecame(c.rdma.Reason, news.Reason)
	c.rdma = news
	if r.Reason == rdma.DevicesReady {
		c.options.Logger.Info("RDMA devices can be used", "devices", r.Message)
		return
	}
	c.options.Logger.Warn("RDMA devices cannot be used", "reason", news.Reason, "message", r.Message, "mode", string(c.options.RDMA.Mode))
}

// withheld is the state of a device that could serve but for its RDMA devices;
// ok is false for any other. An offer says what is true of them, so the first look
// comes before it.
func (c *core) withheld() (d device, ok bool) {
	switch mode := c.options.RDMA.Mode; {
	case mode.On() && c.rdma.Reason == "":
		return device{state: stateStarting, reason: "looking at the RDMA devices"}, true
	case mode == rdma.Required && c.rdma.Reason != string(rdma.DevicesReady):
		return device{state: stateQuarantined, reason: "RDMA is required: " + c.rdma.Reason + ": " + c.rdma.Message}, true
	default:
		return device{}, false
	}
}
