package sidecar

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// The states of a device, as the tracker is told them.
const (
	stateStarting    = tvm.StateStarting
	stateFree        = tvm.StateFree
	stateBusy        = tvm.StateBusy
	stateDraining    = tvm.StateDraining
	stateQuarantined = tvm.StateQuarantined
)

// probeClient stands for the client of a session that is our own probe.
const probeClient = "probe"

// answerTime is how much longer than it should take an agent may be silent
// about the end of a worker.
const answerTime = 2 * time.Second

// takeTime is how long an agent may take to say that a session was handed to its
// worker. It is a matter of milliseconds, and a program under test can stop the
// agent.
const takeTime = 10 * time.Second

// farewellTime bounds the goodbye to a client: long enough for it to read an
// exception packet, and off the path of the next session.
const farewellTime = 2 * time.Second

// core owns the state of the server. All its methods but admit, ticketLost,
// linked and rdmaSeen run on the goroutine of run.
type core struct {
	options Options
	meter   meter
	tickets *tickets
	publish func(device)
	hung    chan struct{} // holds one value when the agent has stopped answering

	crew    *supervise.Crew
	link    *supervise.Link
	flavour tvm.Flavour
	probed  bool // the workers of this link have answered the probe
	current *session
	early   *admitted            // a client that has to wait for the end of a probe
	started map[string]time.Time // warm workers that are not ready yet
	drained bool                 // no more sessions
	leaving bool                 // the agent is stopping: no more sessions until another one comes
	again   bool                 // the last offer came to nothing: make another
	last    device
	// unbounded is [device.unbounded] of the agent that was there last.
	unbounded string
	rdma      tvm.RDMAInfo // zero: nobody has looked yet
	pulse     *pulse
	asking    asking
	away      atomic.Bool // no agent answers

	admissions chan admitted
	losses     chan struct{}
	links      chan linkUp
	gone       chan string // id of the session whose client went away
	answers    chan answer
	reports    chan rdma.Report
	done       chan struct{}  // closed when run returns
	farewells  sync.WaitGroup // goodbyes in progress
}

// linkUp is a new link, and how to tell its maker that it has ended.
type linkUp struct {
	link  *supervise.Link
	ended chan struct{}
}

// answer is what a worker said to a probe.
type answer struct {
	session string
	flavour tvm.Flavour
	err     error
}

func newCore(o Options, t *tickets, publish func(device)) *core {
	c := &core{
		options: o, meter: meter{Metrics: o.Metrics, key: o.Key}, tickets: t, publish: publish,
		hung:       make(chan struct{}, 1),
		pulse:      newPulse(),
		crew:       supervise.NewCrew(o.policy(), "w"+newID()),
		flavour:    o.Flavour,
		started:    map[string]time.Time{},
		admissions: make(chan admitted),
		losses:     make(chan struct{}),
		links:      make(chan linkUp),
		gone:       make(chan string),
		answers:    make(chan answer),
		reports:    make(chan rdma.Report),
		done:       make(chan struct{}),
		asking:     asking{every: askEvery, within: takeTime},
	}
	c.away.Store(true)
	return c
}

// newID returns 40 random bits as text: unique among the sessions and sidecars
// that one log or one agent sees.
func newID() string { return rand.Text()[:8] }

// admit brings in a client that has the ticket.
func (c *core) admit(a admitted) {
	select {
	case c.admissions <- a:
	case <-c.done:
		_ = a.conn.Close()
	}
}

// ticketLost says that a ticket was claimed by a client that is already gone.
func (c *core) ticketLost() {
	select {
	case c.losses <- struct{}{}:
	case <-c.done:
	}
}

// linked gives the core a link, and returns when the link has ended: true to
// make another, false if the core has ended.
func (c *core) linked(l *supervise.Link) bool {
	up := linkUp{link: l, ended: make(chan struct{})}
	select {
	case c.links <- up:
	case <-c.done:
		return false
	}
	select {
	case <-up.ended:
		return true
	case <-c.done:
		return true // the core has closed it; the caller's context ends
	}
}

// run is the event loop. When ctx ends it drains, and returns.
func (c *core) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer c.farewells.Wait()
	defer close(c.done)
	defer c.hangUp()
	var up linkUp
	stop := ctx.Done()
	for {
		c.beginEarly(time.Now())
		timer.Reset(c.settle(time.Now()))
		// Who has claimed the ticket will come, or its handshake fail.
		if c.drained && c.current == nil && c.early == nil && !c.tickets.Claimed() {
			return
		}
		var events <-chan supervise.Event
		if c.link != nil {
			events = c.link.Events()
		}
		select {
		case <-stop:
			stop = nil
			c.drain(time.Now())
		case a := <-c.admissions:
			c.begin(a, time.Now())
		case <-c.losses:
			c.offerAgain()
		case up = <-c.links:
			c.connected(up.link)
		case e, ok := <-events:
			if !ok {
				c.disconnected(time.Now())
				close(up.ended)
				continue
			}
			c.event(e, time.Now())
		case id := <-c.gone:
			c.clientGone(id, time.Now())
		case a := <-c.answers:
			c.answered(a)
		case r := <-c.reports:
			c.heed(r)
		case <-c.pulse.beat:
		case <-timer.C:
		}
	}
}

// hangUp ends the link at the end of run.
func (c *core) hangUp() {
	c.meter.became(string(c.last.state), "")
	c.meter.rdmaBecame(c.rdma.Reason, "")
	if c.link != nil {
		c.link.Close()
	}
}

// settle does what the present state asks for, tells the world about it, and
// returns how long nothing needs to be done if nothing happens.
func (c *core) settle(now time.Time) time.Duration {
	c.dropUnserved(now)
	c.endOverdue(now)
	c.askAgent(now)
	starts, again := c.crew.Plan(now)
	if c.drained || c.leaving {
		starts, again = 0, time.Time{}
	}
	for range starts {
		c.startSpare(now)
	}
	health, reason := c.crew.Health()
	probe := health == supervise.HealthReady && !c.probed || c.crew.NeedsProbe(now)
	if probe && c.current == nil && !c.drained && !c.leaving {
		c.beginProbe(now)
	}
	c.announce(c.deviceNow(health, reason))
	return c.untilNext(now, again)
}

// deviceNow is the state of the device for the tracker.
func (c *core) deviceNow(h supervise.Health, reason string) device {
	switch {
	case c.drained, c.leaving:
		d := device{state: stateDraining, reason: "the server is stopping"}
		if c.current != nil {
			d.session, d.client = c.current.id, c.current.client
		}
		return d
	case c.current != nil && c.current.probe == nil:
		return device{state: stateBusy, session: c.current.id, client: c.current.client}
	case h == supervise.HealthQuarantined, h == supervise.HealthFault:
		return device{state: stateQuarantined, reason: h.String() + ": " + reason}
	case c.current != nil:
		return device{state: stateStarting, reason: "asking a worker for its flavour"}
	case h == supervise.HealthReady:
		if d, ok := c.withheld(); ok {
			return d
		}
		return device{state: stateFree}
	default:
		if reason == "" {
			reason = "waiting for a worker"
		}
		return device{state: stateStarting, reason: reason}
	}
}

// announce publishes a change of state. Each time that the device becomes free
// is an offer of its own, so that it gets a ticket of its own.
func (c *core) announce(d device) {
	d.offer, d.unbounded, d.rdma = c.last.offer, c.unbounded, c.rdma
	if d.state == stateFree && (c.last.state != stateFree || c.again) {
		d.offer++
	}
	c.again = false
	if d == c.last {
		return
	}
	if d.state != stateFree {
		c.tickets.Close()
	}
	if d.state != c.last.state {
		c.meter.became(string(c.last.state), string(d.state))
		c.options.Logger.Debug("device state", "from", string(c.last.state), "to", string(d.state), "reason", d.reason)
	}
	if d.state == stateQuarantined {
		c.options.Logger.Error("device withdrawn", "reason", d.reason)
	}
	c.last = d
	c.publish(d)
}

// offerAgain gives up a ticket that was claimed and led to no session.
func (c *core) offerAgain() {
	c.tickets.Release()
	c.again = true
}

// untilNext is the time until something is due.
func (c *core) untilNext(now, again time.Time) time.Duration {
	next := now.Add(time.Hour)
	due := []time.Time{again, c.crew.NotBefore()}
	for _, began := range c.started {
		due = append(due, began.Add(c.startPatience()+time.Millisecond))
	}
	if c.current != nil {
		kill, _ := c.killTime()
		giveUp, _ := c.giveUpTime()
		due = append(due, kill, giveUp)
	} else if c.link != nil {
		due = append(due, c.asking.next())
	}
	for _, t := range due {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	return next.Sub(now)
}

// startSpare starts a warm worker. A failure to send is a link that has ended,
// which says so itself.
func (c *core) startSpare(now time.Time) {
	worker := c.crew.Start()
	c.started[worker] = now
	_ = c.link.Start(worker, c.options.start(), nil, -1)
}

// connected takes up a link. A session that an earlier sidecar began goes on
// under this one; every other worker is of no use to us.
func (c *core) connected(l *supervise.Link) {
	hello := l.Hello()
	c.link, c.probed, c.leaving = l, false, false
	c.asking.hear(time.Now())
	c.away.Store(false)
	c.started = map[string]time.Time{}
	c.meter.agentConnected()
	c.crew.Connected()
	for _, w := range hello.Workers {
		if w.State == supervise.StateDeviceFault { // and its session is on record
			c.crew.Adopt(w.ID, w.State)
			continue
		}
		c.crew.Adopt(w.ID, supervise.StateBusy)
		if w.Session != nil && c.current == nil && !c.crew.Named(w.ID) && w.Session.Client != probeClient {
			c.current = adopted(w, time.Now())
			continue
		}
		c.crew.Terminating(w.ID)
		_ = l.Kill(w.ID, supervise.Kill{Cause: supervise.CauseKilledDrain})
	}
	if hello.Stopping {
		c.leave()
	}
	c.options.Logger.Info("agent connected", "agent_pid", hello.PID, "instance", hello.Instance, "starts", hello.Starts, "workers", len(hello.Workers))
	c.unbounded = c.options.warnUnbounded(hello.Unbounded)
	c.assign(time.Now())
}

// disconnected ends the session whose worker died with the agent.
func (c *core) disconnected(now time.Time) {
	limit := c.link.Hello().MemoryLimit
	c.link.Close()
	c.link = nil
	c.away.Store(true)
	c.crew.Disconnected()
	c.options.Logger.Warn("agent lost")
	if c.current != nil && c.current.probe != nil { // no fault of the worker's
		c.current.socket.Close()
		c.current = nil
	}
	if c.current != nil && !c.current.handed.IsZero() {
		kills, known := supervise.OOMKills()
		c.finish(c.current.lostAgent(kills, known, limit), now)
	}
}

// event handles what the agent says.
func (c *core) event(e supervise.Event, now time.Time) {
	c.asking.hear(now)
	switch e.Kind {
	case supervise.EventReady:
		if !c.crew.Ready(e.Worker) {
			return
		}
		c.meter.workerReady(now.Sub(c.started[e.Worker]))
		delete(c.started, e.Worker)
		c.assign(now)
	case supervise.EventAdopt:
		c.adopt(e)
	case supervise.EventEnded, supervise.EventExited:
		c.ended(e, now)
	case supervise.EventUnkillable:
		c.crew.Unkillable(e.Worker)
		c.options.Logger.Error("worker outlives SIGKILL", "worker", e.Worker)
		if c.current != nil && c.current.worker == e.Worker {
			r := reportOf(e)
			r.Cause = supervise.CauseUnkillable
			c.finish(r, now)
		} else if c.lateEnd(e) {
			c.finishLate(e, reportOf(e), now)
			return
		}
		supervise.CloseFD(e.FD)
	case supervise.EventStopping:
		c.leave()
	case supervise.EventStarted, supervise.EventCleaning:
		if s := c.current; s != nil && s.worker == e.Worker {
			s.taken = true
			s.cleaning = e.Kind == supervise.EventCleaning
		}
	case supervise.EventHello, supervise.EventPong:
	default:
		c.options.Logger.Warn("unknown event of the agent", "kind", string(e.Kind))
	}
}

// lateEnd tells whether an event is about a session of an earlier sidecar that
// it could not put on record.
func (c *core) lateEnd(e supervise.Event) bool {
	return e.Session != nil && e.Session.Client != probeClient && !c.crew.Named(e.Worker)
}

// ended handles the end of a worker's tree, or of a session that its worker
// survives, and says that it is on record.
func (c *core) ended(e supervise.Event, now time.Time) {
	r := reportOf(e)
	delete(c.started, e.Worker)
	if e.Kind == supervise.EventEnded {
		c.crew.Returned(e.Worker)
	} else {
		counted := c.crew.Exited(now, e.Worker, r)
		c.meter.workerEnded(r)
		if s := c.current; s != nil && s.worker == e.Worker && s.probe != nil {
			s.probe.counted = counted
		}
	}
	switch {
	case c.current != nil && c.current.worker == e.Worker:
		c.takeSocket(c.current, e.FD)
		c.finish(r, now)
	case c.lateEnd(e):
		c.finishLate(e, r, now)
	default:
		supervise.CloseFD(e.FD)
		c.options.Logger.Warn("worker ended without a session", "worker", e.Worker, "cause", string(r.Cause), "how", r.String())
	}
	if c.link != nil {
		_ = c.link.Ack(e.Worker, e.Seq)
	}
	if e.Kind == supervise.EventEnded && !c.crew.Named(e.Worker) {
		c.dismiss(e.Worker) // an earlier sidecar started it, by its own options
	}
}

func reportOf(e supervise.Event) supervise.Report {
	if e.Report == nil {
		return supervise.Report{Cause: supervise.CauseStartFailed, Code: -1, Error: "the agent gave no report"}
	}
	return *e.Report
}

// drain stops offering; a session in progress has DrainTimeout left, a probe has
// no use any more.
func (c *core) drain(now time.Time) {
	c.drained = true
	c.tickets.Retire()
	switch s := c.current; {
	case s == nil:
	case s.probe != nil:
		s.drainAt = now
	case s.drainAt.IsZero():
		s.drainAt = now.Add(c.options.DrainTimeout)
		c.options.Logger.Info("draining", "session", s.id, "at_most", c.options.DrainTimeout)
	}
}
