package workers_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// cuts takes connections for a server, and cuts each after so many bytes, at most, either way, while on says so.
func cuts(t *testing.T, path, to string, most int, on *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	carry := func(to, from net.Conn) {
		n := int64(1 << 60)
		if on.Load() {
			n = int64(rand.IntN(most))
		}
		_, _ = io.CopyN(to, from, n)
		_ = to.Close()
		_ = from.Close()
	}
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("unix", to)
			if err != nil {
				_ = a.Close()
				continue
			}
			go carry(b, a)
			go carry(a, b)
		}
	}()
}

// outcome is what a caller was told.
type outcome struct {
	session.Outcome
	call string // for people
	many bool   // more than one run is no harm
}

// agrees tells whether it is true of a call that has run so often.
func (o *outcome) agrees(runs int) bool {
	switch {
	case runs > 1 && !o.many:
		return false
	case o.Execution == session.NotExecuted:
		return runs == 0
	case o.Execution == session.Executed:
		return runs > 0
	}
	return true
}

// storm makes batches of calls, and keeps what has come of them.
type storm struct {
	ended map[string]*outcome // by what the call writes down
	mu    sync.Mutex
	made  atomic.Int64
}

// call makes one call of a batch: short or long, with a deadline, or given up, alone or in a lane. Few kill their worker.
func (s *storm) call(ctx context.Context, c *client.Client, over *sync.WaitGroup) client.Prepared {
	id := fmt.Sprintf("c%dc", s.made.Add(1))
	u := &client.Call{Method: "note", Args: []byte(id), Idempotent: rand.IntN(4) == 0, OneWay: rand.IntN(8) == 0, Lane: uint64(max(rand.IntN(8)-4, 0))}
	switch k := rand.IntN(200); {
	case k == 0:
		u.Method = "die segv"
	case k < 10:
		u.Args = append(u.Args, strings.Repeat("x", 1<<(6+k))...)
	}
	ctx, cancel := context.WithCancel(ctx)
	switch rand.IntN(8) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
	case 1:
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
	}
	over.Add(1)
	return c.Prepare(ctx, u, func(u *client.Call) {
		cancel()
		s.mu.Lock()
		s.ended[id] = &outcome{u.Outcome, fmt.Sprintf("%s of %d bytes, one way %t, lane %d: %s", u.Method, len(u.Args), u.OneWay, u.Lane, u.Text), u.Idempotent}
		s.mu.Unlock()
		over.Done()
	})
}

// TestWhatCallersOfBatchesAreToldIsTrue, whatever happens meanwhile: workers die or stand still, connections are
// cut at any byte, calls are given up while they are queued for the end of a reader's round.
func TestWhatCallersOfBatchesAreToldIsTrue(t *testing.T) {
	for name, o := range map[string]setting{
		"methods of all kinds":        {},
		"methods that are short":      {methods: []server.Method{{Name: "note", Inline: true}}},
		"results that have room":      {workers: workers.Options{Room: conn.NewRoom(512 << 10), MaxReply: 256 << 10}},
		"one call at a time in there": {workers: workers.Options{Workers: 1, Concurrency: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if o.workers.Workers == 0 {
				o.workers.Workers, o.workers.Concurrency = 2, 4
			}
			o.workers.Grace, o.server.Room = 50*time.Millisecond, o.workers.Room
			r := newRig(t, o)
			var faults atomic.Bool
			faults.Store(true)
			cuts(t, r.path+"c", r.path, 1<<20, &faults)
			cut := r.another(client.Options{Grace: 20 * time.Millisecond})
			if err := cut.Update([]conn.Endpoint{{ID: "cut", Unix: r.path + "c"}}); err != nil {
				t.Fatal(err)
			}
			s := &storm{ended: map[string]*outcome{}}
			var busy sync.WaitGroup
			for _, c := range []*client.Client{r.client, r.another(client.Options{Grace: 20 * time.Millisecond}), cut, cut} {
				busy.Go(func() {
					for faults.Load() {
						var over sync.WaitGroup
						var batch []client.Prepared
						for range 1 + rand.IntN(24) {
							batch = append(batch, s.call(t.Context(), c, &over))
						}
						c.StartAll(batch)
						over.Wait()
					}
				})
			}
			for range 20 {
				time.Sleep(40 * time.Millisecond)
				u := r.call("pid", "")
				pid, err := strconv.Atoi(string(u.Reply))
				switch {
				case err != nil: // its worker has died
				case rand.IntN(2) == 0:
					_ = unix.Kill(pid, unix.SIGKILL)
				default:
					_ = unix.Kill(pid, unix.SIGSTOP)
					time.Sleep(20 * time.Millisecond)
					_ = unix.Kill(pid, unix.SIGCONT)
				}
			}
			faults.Store(false)
			busy.Wait()
			eventually(t, "nothing runs", func() bool { n := r.core.Counts(); return n.Running+n.Waiting == 0 })
			b, err := os.ReadFile(r.runs)
			if err != nil {
				t.Fatal(err)
			}
			ran := map[string]int{}
			for _, id := range regexp.MustCompile(`c[0-9]+c`).FindAllString(string(b), -1) { // a worker may have died in a line
				ran[id]++
			}
			for id, o := range s.ended {
				if n := ran[id]; !o.agrees(n) {
					t.Errorf("%s, %s ended with %v, %v, and has run %d times", id, o.call, o.Code, o.Execution, n)
				}
			}
			if len(s.ended) != int(s.made.Load()) {
				t.Errorf("%d of %d calls have ended", len(s.ended), s.made.Load())
			}
			t.Logf("%d calls, workers: %+v", len(s.ended), r.pool.Status().Counts)
		})
	}
}
