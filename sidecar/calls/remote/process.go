package remote

import (
	"net"
	"sync/atomic"

	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/sidecar/supervise"
)

// process is a worker process.
type process struct {
	id      string
	link    *supervise.Link
	channel net.Conn
	pid     atomic.Int64
	exited  chan struct{}
	report  crash.Report // there when exited is closed
}

var _ workers.Process = (*process)(nil)

// lost is the end of a worker whose agent is gone.
var lost = crash.Report{Status: -1, Signal: 9, Output: []byte("the agent above the worker is gone, and the worker with it")} //nolint:gochecknoglobals // a constant

// Channel implements [workers.Process].
func (p *process) Channel() net.Conn { return p.channel }

// Exited implements [workers.Process].
func (p *process) Exited() <-chan struct{} { return p.exited }

// Kill implements [workers.Process]. It does not wait for an agent that does not read.
func (p *process) Kill() {
	go func() { _ = p.link.Kill(p.id, supervise.Kill{Cause: supervise.CauseTimeout}) }()
}

// Report implements [workers.Process].
func (p *process) Report() crash.Report {
	r := p.report
	r.PID = int(p.pid.Load())
	return r
}

func (p *process) end(r crash.Report) {
	p.report = r
	close(p.exited)
}

// reportOf is the agent's report as callers get it. Why a worker could not be started
// stands where its output would.
func reportOf(r *supervise.Report) crash.Report {
	if r == nil {
		return lost
	}
	output := r.Output
	if len(output) == 0 {
		output = []byte(r.Error)
	}
	return crash.Report{
		Signal: int(r.Signal), Status: r.Code, Core: r.Core, OOM: r.Cause == supervise.CauseOOM,
		User: r.UserTime, System: r.SysTime, MaxRSS: r.MaxRSS, Output: output, Stack: crash.StackOf(output),
	}
}
