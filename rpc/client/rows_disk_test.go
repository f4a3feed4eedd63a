package client

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

type slowDisk struct {
	*journal.Journal
	ready chan struct{}
}

func (d slowDisk) Wait(ctx context.Context, _ uint64) error {
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestC9_NothingStartsAfterItsDeadlineHoweverSlowTheDiskIs(t *testing.T) {
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Policy: journal.Each})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	disk := slowDisk{log, make(chan struct{}, 100)}
	h := newHost(t, "a", hostOptions{core: server.Options{Journal: disk, Sync: true, ID: log.ID(), Life: uint64(log.Life())}})
	o := quick()
	o.Grace = time.Millisecond
	c := newClient(t, o, h.endpoint())
	disk.ready <- struct{}{}
	disk.ready <- struct{}{} // session, start and end of the first
	disk.ready <- struct{}{}
	ask(soon(t), c, "do", "first").is(t, session.OK, session.Executed)
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	ask(ctx, c, "do", "late").is(t, session.DeadlineExceeded, session.Indeterminate)
	given, giveUp := context.WithCancel(soon(t))
	time.AfterFunc(50*time.Millisecond, giveUp)
	ask(given, c, "do", "given up").is(t, session.Canceled, session.Indeterminate)
	for range 90 {
		disk.ready <- struct{}{}
	}
	ask(soon(t), c, "do", "last").is(t, session.OK, session.Executed)
	if late, given := h.count("late"), h.count("given up"); late != 0 || given != 0 {
		t.Errorf("after their outcomes were told, %d and %d ran", late, given)
	}
}

// failingDisk is quick, until it hangs, and then fails.
type failingDisk struct {
	*journal.Journal
	hangs *atomic.Bool
	asked chan struct{} // has an element for each wait that hangs
	fails chan struct{}
}

func (d failingDisk) Wait(ctx context.Context, _ uint64) error {
	if !d.hangs.Load() {
		return nil
	}
	d.asked <- struct{}{}
	select {
	case <-d.fails:
		return errors.New("input/output error")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestC7_ADiskThatFailsHoldsNobodyUp(t *testing.T) {
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Policy: journal.Each})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	disk := failingDisk{log, new(atomic.Bool), make(chan struct{}, 100), make(chan struct{})}
	g := newGate()
	h := newHost(t, "a", hostOptions{
		core:    server.Options{Journal: disk, Sync: true, ID: log.ID(), Life: uint64(log.Life())},
		methods: []server.Method{{Name: "wait", Run: g.run}},
	})
	c := newClient(t, quick(), h.endpoint())
	calls := map[string]chan *Call{}
	call := func(method, args string, idempotent bool) {
		done := make(chan *Call, 1)
		calls[args] = done
		go func() {
			u := &Call{Method: method, Args: []byte(args), Idempotent: idempotent}
			c.Do(soon(t), u)
			done <- u
		}()
	}
	call("wait", "runs", false)
	<-g.entered
	disk.hangs.Store(true)
	call("do", "about to start", false)
	<-disk.asked
	close(g.open) // its end is journalled behind that
	call("do", "often", true)
	eventually(t, "all are there", func() bool { return h.core.Counts().Entries == 3 })
	if err := h.core.Broken(); err != nil {
		t.Errorf("the disk only hangs: %v", err)
	}
	close(disk.fails)
	(<-calls["runs"]).is(t, session.OK, session.Executed)
	(<-calls["often"]).is(t, session.OK, session.Executed)
	(<-calls["about to start"]).is(t, session.Refused, session.NotExecuted)
	if err := h.core.Broken(); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("broken: %v", err)
	}
	u := ask(soon(t), c, "do", "later")
	u.is(t, session.Refused, session.NotExecuted)
	if !strings.Contains(u.Text, "journal") {
		t.Errorf("text is %q", u.Text)
	}
	call("do", "later, often", true)
	(<-calls["later, often"]).is(t, session.OK, session.Executed)
	if n, m := h.count("about to start"), h.count("later"); n+m != 0 {
		t.Errorf("what was refused ran %d and %d times", n, m)
	}
}

func TestC9_ADrainWaitsForWhatIsAboutToStart(t *testing.T) {
	log, err := journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Policy: journal.Each})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	disk := slowDisk{log, make(chan struct{}, 100)}
	h := newHost(t, "a", hostOptions{core: server.Options{Journal: disk, Sync: true, ID: log.ID(), Life: uint64(log.Life())}})
	c := newClient(t, quick(), h.endpoint())
	disk.ready <- struct{}{} // the session
	done := make(chan *Call)
	go func() { done <- ask(soon(t), c, "do", "x") }()
	eventually(t, "it is in the table", func() bool { return h.core.Counts().Entries == 1 })
	drained := make(chan error, 1)
	go func() { drained <- h.core.Drain(soon(t)) }()
	select {
	case err := <-drained:
		t.Error("it does not wait")
		drained <- err
	case <-time.After(50 * time.Millisecond):
	}
	for range 10 {
		disk.ready <- struct{}{}
	}
	(<-done).is(t, session.OK, session.Executed)
	if err := <-drained; err != nil || h.count("x") != 1 {
		t.Errorf("%v, %d runs", err, h.count("x"))
	}
}
