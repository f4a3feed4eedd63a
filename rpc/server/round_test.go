package server_test

import (
	"context"
	"iter"
	"math"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// disk is a journal that is on disk as far as the test says.
type disk struct {
	mu      sync.Mutex
	written uint64
	saved   uint64        // what of that is on disk
	changed chan struct{} // closed when saved grows
}

func (d *disk) Append(...[]byte) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written++
	return d.written, nil
}

func (*disk) Compact(iter.Seq[[]byte]) error    { return nil }
func (*disk) Records() iter.Seq2[[]byte, error] { return func(func([]byte, error) bool) {} }
func (*disk) Room() uint64                      { return math.MaxUint32 }
func (d *disk) Wait(ctx context.Context, end uint64) error {
	for {
		d.mu.Lock()
		saved, changed := d.saved, d.changed
		d.mu.Unlock()
		if end <= saved {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// save says how much is on disk from now on.
func (d *disk) save(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved = n
	close(d.changed)
	d.changed = make(chan struct{})
}

// end is where the journal ends.
func (d *disk) end() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written
}

// runs is an executor whose jobs are the test's.
type runs chan run

type run struct {
	*server.Job
	round *conn.Conn // while it was executed
}

func (r runs) Execute(j *server.Job) { r <- run{j, j.Round()} }
func (runs) Interrupt(*server.Job)   {}

// next is the next run of a method.
func (r runs) next(t *testing.T, method string) run {
	t.Helper()
	select {
	case j := <-r:
		if j.Method.Name != method {
			t.Fatalf("a call of %s runs, want one of %s", j.Method.Name, method)
		}
		return j
	case <-time.After(time.Minute):
		t.Fatalf("no call of %s runs", method)
		return run{}
	}
}

// TestACallThatIsRunAgainIsOfNoRound: what is queued for the end of a reader's round must be queued by
// that reader, in that round. A call that did not begin may be run again by another goroutine, the one that
// waits for the journal's disk.
func TestACallThatIsRunAgainIsOfNoRound(t *testing.T) {
	d, all := &disk{saved: math.MaxUint64, changed: make(chan struct{})}, make(runs, 16)
	core, err := server.New(all, server.Options{Open: true, Journal: d, Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	door, err := conn.NewServer(conn.ServerOptions{Handler: server.NewDoor(core), Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Codecs: 7})
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- door.Serve(l) }()
	defer func() {
		_ = door.Close()
		<-served
	}()
	c, err := client.New(client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Update([]conn.Endpoint{{ID: "a", Unix: path}}); err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	call := func(method string, idempotent bool) {
		open.Add(1)
		c.Start(t.Context(), &client.Call{Method: method, Idempotent: idempotent}, func(*client.Call) { open.Done() })
	}
	journalled := func(n uint64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); d.end() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("there are %d records, want %d", d.end(), n)
			}
		}
	}

	call("again", true) // is not journalled
	again := all.next(t, "again")
	if again.round == nil {
		t.Fatal("a call that a reader has brought is of no round: this test says nothing")
	}
	before := d.end()
	d.save(before)
	call("first", false)
	journalled(before + 1)
	core.Unstarted(again.Job) // waits behind it
	call("second", false)
	journalled(before + 2)
	d.save(before + 1)
	first := all.next(t, "first")
	if again = all.next(t, "again"); again.round != nil {
		t.Error("it is run by who waits for the disk, in the round of a reader that is elsewhere")
	}
	d.save(math.MaxUint64)
	for _, r := range []run{first, again, all.next(t, "second")} {
		core.Return(r.Job, session.OK, nil)
	}
	open.Wait()
}
