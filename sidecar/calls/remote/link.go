package remote

import (
	"context"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/sidecar/supervise"
)

// run keeps a link to the agent. Whoever loses it at once, to another sidecar or with an
// agent that cannot stay, is in no hurry to have the next one.
func (s *Starter) run() {
	pause := pauseMin
	for s.ctx.Err() == nil {
		began := time.Now()
		if link, err := s.dial(); err == nil {
			s.attend(link)
			if time.Since(began) >= pauseMax {
				pause = pauseMin
				continue
			}
		} else {
			s.opts.Log.Debug("no agent", "err", err, "again_in", pause)
		}
		sleep.For(pause, s.ctx.Done())
		pause = min(2*pause, pauseMax)
	}
}

func (s *Starter) dial() (*supervise.Link, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTime)
	defer cancel()
	return supervise.Dial(ctx, s.opts.Socket) //nolint:wrapcheck // it names the socket
}

// attend uses a link until it ends, or its agent hangs, or the starter is closed.
func (s *Starter) attend(link *supervise.Link) {
	hello := link.Hello()
	for _, w := range hello.Workers { // nobody has the other ends of their channels
		_ = link.Kill(w.ID, supervise.Kill{Cause: supervise.CauseKilledDrain})
	}
	s.opts.Log.Info("agent is there", "pid", hello.PID, "killed", len(hello.Workers))
	if hello.Stopping {
		s.stopping()
	}
	s.mu.Lock()
	s.link = link
	close(s.came)
	s.mu.Unlock()
	defer s.leave(link)
	ask := time.NewTicker(s.opts.ask)
	defer ask.Stop()
	silent := 0
	for {
		select {
		case e, open := <-link.Events():
			if !open {
				return
			}
			silent = 0
			s.event(link, e)
		case <-ask.C:
			if silent++; silent > 2 {
				s.opts.Log.Error("agent does not answer, and is given up")
				select {
				case s.hung <- struct{}{}:
				default: // it was said of an earlier one
				}
				return
			}
			go func() { _ = link.Ping() }() // it waits where the agent does not read; the link's end ends it
		case <-s.ctx.Done():
			return
		}
	}
}

// event takes what the agent tells.
func (s *Starter) event(link *supervise.Link, e supervise.Event) {
	supervise.CloseFD(e.FD) // of an earlier sidecar's channel
	switch e.Kind {
	case supervise.EventExited:
		_ = link.Ack(e.Worker, e.Seq)
		if p := s.remove(e.Worker); p != nil {
			p.end(reportOf(e.Report))
		}
	case supervise.EventStarted:
		s.mu.Lock()
		if p := s.live[e.Worker]; p != nil {
			p.pid.Store(int64(e.PID))
		}
		s.mu.Unlock()
	case supervise.EventUnkillable:
		s.opts.Log.Error("worker outlives SIGKILL", "worker", e.Worker)
	case supervise.EventStopping:
		s.opts.Log.Info("agent is told to stop")
		s.stopping()
	case supervise.EventHello, supervise.EventAdopt, supervise.EventReady, supervise.EventEnded, supervise.EventCleaning, supervise.EventPong:
	}
}

func (s *Starter) stopping() { s.stop.Do(func() { close(s.told) }) }

// leave gives a link up, and all workers with it.
func (s *Starter) leave(link *supervise.Link) {
	s.mu.Lock()
	s.link, s.came = nil, make(chan struct{})
	left := s.live
	s.live = map[string]*process{}
	s.mu.Unlock()
	link.Close()
	for _, p := range left {
		p.end(lost)
	}
}
