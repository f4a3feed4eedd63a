package sidecar

import (
	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/tvm"
)

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
