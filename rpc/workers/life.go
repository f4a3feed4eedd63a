package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/wire"
	channel "rpcpool.dev/rpc/worker"
)

const (
	// exitAfter is how long a process may take to end after its channel has: longer,
	// and it is the channel that it has given up.
	exitAfter = 500 * time.Millisecond
	// closeAfter is how long a channel may take to end after its process has: longer,
	// and somebody below it has it.
	closeAfter = 100 * time.Millisecond
)

const sigkill = 9

// Window is what a worker may have sent that has no room, bytes, where results have some
// ([Options].Room): short answers, and for 16 of its calls the items of a stream that its client
// has not read, and one of them that is on its way.
func Window(concurrency int) int { return 1<<20 + min(concurrency, 16)*2*frame.MessageAllowance }

// live is a position: one worker after the other.
func (p *Pool) live(i int) {
	var r restart
	for p.ctx.Err() == nil {
		p.to(i, Starting)
		w, err := p.begin(i)
		var pause time.Duration
		switch {
		case err != nil && p.ctx.Err() != nil: // it was ended as the pool is
		case err != nil:
			pause = r.ended(false, 0, rand.Float64()) //nolint:gosec // spreads starts, keeps no secret
			p.opts.Log.Warn("worker did not become ready", "worker", i, "again_in", pause, "err", err)
		default:
			p.enter(w)
			w.wait()
			served := w.finish()
			pause = r.ended(served, time.Since(w.ready), rand.Float64()) //nolint:gosec // the same
			if !served {
				err = &UnservedError{Report: w.report(0)}
			}
		}
		p.mu.Lock()
		p.position[i].loop, p.position[i].err = r.loops(), err
		p.mu.Unlock()
		if pause > 0 {
			p.to(i, Backoff)
			sleep.For(pause, p.ctx.Done())
		}
	}
	p.to(i, Stopped)
}

// begin starts a worker, and waits until it is ready.
func (p *Pool) begin(i int) (*worker, error) {
	proc, err := p.opts.Starter.Start(p.ctx)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	w := &worker{
		pool: p, position: i, proc: proc, born: time.Now(),
		calls: map[uint64]*call{}, bound: map[uint32]bool{}, closed: make(chan struct{}),
	}
	p.mu.Lock()
	p.counts.Starts++
	p.mu.Unlock()
	nc := proc.Channel()
	conn.Tune(nc)
	opts := channel.Options()
	opts.Handshake = p.opts.Start
	if p.opts.MaxReply > 0 {
		opts.MaxMessage = p.opts.MaxReply
	}
	if room := p.opts.Room; room != nil {
		window := Window(p.opts.Concurrency)
		opts.Room, opts.MaxAssembly, opts.Window, opts.MaxWindow = room, room.Size(), window, window
	}
	opts.Waiting = func() int { return int(w.waiting.Load()) }
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	go func() { // a process that has ended will not shake hands, whoever has its channel
		select {
		case <-proc.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	party, socket := p.pair(i)
	w.party = party
	nc, done := give(nc, socket, func(err error) { p.opts.Log.Warn("worker gets no blobs", "worker", i, "err", err) })
	defer done()
	from := server.Machine()
	if w.conn, err = conn.Connect(ctx, nc, frame.Hello{Features: frame.FeatureStreams | frame.FeatureBlobs | frame.FeatureBlobReuse}, w, opts); err == nil {
		w.ready = time.Now()
		w.shares = shares(from, w.conn.Agreed().Machine, server.Machine())
		p.opts.OnReady(w.ready.Sub(w.born))
		return w, nil
	}
	select {
	case <-proc.Exited():
	default:
		proc.Kill()
		<-proc.Exited()
	}
	p.unpair(party)
	r := proc.Report()
	r.Cause = crash.StartFailed
	p.count(r.Cause)
	if r.Signal != sigkill { // it has ended by itself: what became of its channel follows from that
		err = ErrNoWorker
	}
	return nil, &UnservedError{Report: r, Err: err}
}

// shares tells whether a clock that showed at between from and to is the one that
// showed these: in another time namespace, or another virtual machine, it shows something
// else altogether.
func shares(from, at, to time.Duration) bool { return from > 0 && from <= at && at <= to }

// enter makes a worker that is ready serve, or be a spare.
func (p *Pool) enter(w *worker) {
	p.mu.Lock()
	p.spares = append(p.spares, w)
	p.position[w.position].state, p.position[w.position].err = Spare, nil
	serves := p.promote()
	p.mu.Unlock()
	if serves {
		p.core.Grow(p.opts.Concurrency)
	}
}

// promote makes the spare that is ready for longest serve, if one is missing. It tells
// whether there is one. The caller then lets the core give out more.
func (p *Pool) promote() bool {
	if len(p.serving) >= p.opts.Workers || len(p.spares) == 0 || p.ctx.Err() != nil {
		return false
	}
	w := p.spares[0]
	p.spares = slices.Delete(p.spares, 0, 1)
	p.serving = append(p.serving, w)
	p.position[w.position].state = Ready
	return true
}

// wait returns when a worker can serve no longer.
func (w *worker) wait() {
	select {
	case <-w.closed:
	case <-w.proc.Exited():
	case <-w.pool.ctx.Done():
	}
	w.leave()
}

// retire ends a worker in order, when what runs in it has ended.
func (w *worker) retire() {
	w.leave()
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.retired = true
	w.rest()
}

// rest ends a retired worker that has nothing to do any more. It is called with the pool's lock.
func (w *worker) rest() {
	if w.retired && len(w.calls) == 0 {
		_ = w.conn.Close()
	}
}

// leave takes a worker out of service, and lets a spare in. The core gives out less
// before there is one less to take it.
func (w *worker) leave() { w.out.Do(w.goOut) }

func (w *worker) goOut() {
	p := w.pool
	is := func(o *worker) bool { return o == w }
	p.mu.Lock()
	p.spares = slices.DeleteFunc(p.spares, is)
	p.position[w.position].state = Terminating
	w.leaving = true
	slots := p.opts.Concurrency + w.lent
	serving := slices.Contains(p.serving, w)
	p.mu.Unlock()
	if !serving {
		return
	}
	p.core.Grow(-slots)
	p.mu.Lock()
	p.serving = slices.DeleteFunc(p.serving, is)
	promoted := p.promote()
	p.mu.Unlock()
	if promoted {
		p.core.Grow(p.opts.Concurrency)
	}
}

// finish sees to it that process and channel end, and tells the core of the calls that
// are left. It tells whether the worker has served.
func (w *worker) finish() (served bool) {
	p := w.pool
	if p.ctx.Err() != nil {
		p.mu.Lock()
		w.killed = cmp.Or(w.killed, crash.Drained)
		p.mu.Unlock()
		_ = w.conn.Close()
		w.await(w.proc.Exited(), p.opts.Stop, crash.Drained, "the server stops")
	}
	select {
	case <-w.closed:
		w.await(w.proc.Exited(), exitAfter, crash.Protocol, "call channel: "+w.broken.Error())
	case <-w.proc.Exited():
		select {
		case <-w.closed:
		case <-time.After(closeAfter):
			_ = w.conn.Close()
			<-w.closed
		}
	}
	w.sends.Wait()
	p.mu.Lock()
	if w.misspoke() && w.killed == "" { // who is told to go for it may do so in order
		w.killed, w.why = crash.Protocol, "call channel: "+w.broken.Error()
	}
	left := make([]*call, 0, len(w.calls))
	for _, c := range w.calls {
		left = append(left, c)
	}
	w.calls = map[uint64]*call{}
	if w.timer != nil {
		w.timer.Stop()
	}
	served = w.served || len(left) > 0
	p.mu.Unlock()
	w.settle(left)
	p.unpair(w.party)
	return served
}

// misspoke tells whether the channel ended because the worker broke its rules.
func (w *worker) misspoke() bool {
	var bad *frame.Error
	return errors.As(w.broken, &bad)
}

// await waits for an end, and brings it about if it does not come.
func (w *worker) await(end <-chan struct{}, patience time.Duration, cause crash.Cause, why string) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-end:
	case <-timer.C:
		w.kill(cause, why)
		<-end
	}
}

// mostTold is how many of the calls that a worker's death has ended are in the log.
const mostTold = 8

// settle tells the core of the calls that a worker has left, in their order.
func (w *worker) settle(left []*call) {
	p := w.pool
	slices.SortFunc(left, func(a, b *call) int { return cmp.Compare(a.seq, b.seq) })
	ran, told := 0, []any(nil)
	for _, c := range left {
		c.unsent = c.unsent || slices.Contains(w.unsent, c.seq)
		if c.relay != nil && c.relay.broke() { // another run would miss its items
			c.unsent = false
		}
		if !c.unsent {
			ran++
			told = append(told, slog.Group(strconv.Itoa(ran), "method", c.job.Method.Name, "xid", c.job.XID(), "trace", wire.FormatTrace(c.job.Trace)))
		}
	}
	r := w.report(ran)
	p.count(r.Cause)
	p.mu.Lock()
	p.counts.Crashed += uint64(ran)
	p.counts.Moved += uint64(len(left) - ran)
	p.mu.Unlock()
	if ran > 0 || r.Cause != crash.Completed && r.Cause != crash.Drained {
		p.opts.Log.Warn("worker died", "worker", w.position, "pid", r.PID, "calls", ran, "report", r.String(), slog.Group("call", told[:min(len(told), mostTold)]...))
	}
	var report []byte
	for _, c := range left {
		c.unview()
		if c.unsent {
			p.core.Unstarted(c.job)
			continue
		}
		if report == nil {
			report = wire.Failure(0, r.String(), r.Append(nil))
		}
		p.core.Crash(c.job, ran == 1 && w.killed == "", report)
	}
}

// report says how a worker has ended, with so many calls.
func (w *worker) report(calls int) crash.Report {
	w.pool.mu.Lock()
	killed, why := w.killed, w.why
	w.pool.mu.Unlock()
	r := w.proc.Report()
	if killed == crash.Protocol && !w.misspoke() && r.Signal != sigkill {
		killed, why = "", "" // it was about to end by itself, and we did not wait long enough
	}
	r.Calls, r.Time, r.Lived = calls, time.Now(), time.Since(w.born)
	r.Cause, r.Text = classify(killed, calls > 0, &r), why
	return r
}

// classify tells the cause of an end. One that we brought about is named by our reason.
func classify(killed crash.Cause, busy bool, r *crash.Report) crash.Cause {
	switch {
	case killed != "":
		return killed
	case r.Signal == sigkill && r.OOM:
		return crash.OOM
	case r.Signal != 0:
		return crash.Signal
	case r.Status != 0 || busy:
		return crash.Exit
	}
	return crash.Completed
}

func (p *Pool) count(c crash.Cause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Ends[c]++
}
