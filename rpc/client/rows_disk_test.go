package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc/conn"
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

// A journal fills while nothing that is in it can be forgotten: its client does not hear, and
// so acknowledges nothing. What can be written down is done, the rest is refused; and whether
// the server lives on or another opens the journal, what everybody is told is true.
func TestC27_AJournalFillsWhileItsServerRuns(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("started again %t", again), func(t *testing.T) {
			const calls = 300
			path := filepath.Join(t.TempDir(), "journal")
			var mu sync.Mutex
			runs := map[string]int{}
			big := server.Method{Name: "big", Run: func(j *server.Job) (session.Code, []byte) {
				mu.Lock()
				defer mu.Unlock()
				runs[string(j.Args)]++
				return session.OK, make([]byte, 1<<10)
			}}
			var addr atomic.Value
			start := func() (h *host, end func()) {
				log, err := journal.Open(path, journal.Options{Size: 16 << 10}) // half of it is for records
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = log.Close() })
				h = newHost(t, "a", hostOptions{core: server.Options{Journal: log, ID: log.ID(), Life: uint64(log.Life())}, methods: []server.Method{big}})
				addr.Store(h.addr)
				return h, func() {
					h.stop()
					_ = log.Close()
				}
			}
			h, end := start()
			proxy := behind(t, func() string { return addr.Load().(string) })
			o := quick()
			o.Session.FailoverAfter = time.Minute
			c := newClient(t, o, conn.Endpoint{ID: "a", TCP: proxy.Addr()})
			ask(soon(t), c, "big", "before").is(t, session.OK, session.Executed)
			proxy.FreezeOne(faultproxy.ToClient)
			ends := make(chan *Call, calls)
			for i := range calls {
				c.Start(soon(t), &Call{Method: "big", Args: []byte(fmt.Sprint(i))}, func(u *Call) { ends <- u })
			}
			ended := func(n server.Counts) (all uint64) {
				for _, code := range n.Calls {
					for _, n := range code {
						all += n
					}
				}
				return all
			}
			eventually(t, "all have been run or refused", func() bool { return ended(h.core.Counts()) == 1+calls })
			if n := h.core.Counts().Refusals; n == 0 {
				t.Error("it does not fill")
			}
			if again {
				end()
				proxy.Reset() // what is on its way is lost
				h, _ = start()
			}
			proxy.Thaw()
			told := map[string]int{}
			for range calls {
				u := <-ends
				told[fmt.Sprintf("%v, %v", u.Outcome.Code, u.Outcome.Execution)]++
				want := 1
				if u.Outcome.Execution == session.NotExecuted {
					want = 0
				}
				mu.Lock()
				if n := runs[string(u.Args)]; n != want || u.Outcome.Execution == session.Indeterminate {
					t.Errorf("call %s ran %d times, and ended with %v, %v: %s", u.Args, n, u.Outcome.Code, u.Outcome.Execution, u.Text)
				}
				mu.Unlock()
			}
			t.Log(told)
			for i := range calls { // what is acknowledged makes room
				ask(soon(t), c, "big", fmt.Sprint("later ", i)).is(t, session.OK, session.Executed)
			}
			if err := h.core.Broken(); err != nil {
				t.Errorf("a full journal is no broken one: %v", err)
			}
		})
	}
}
