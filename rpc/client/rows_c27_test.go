package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestC27_SocketsEndInAllWays(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	stop := make(chan struct{})
	var ends, calls sync.WaitGroup
	ends.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				[]func(){proxy.Cut, proxy.Reset, proxy.HalfClose}[i%3]()
			}
		}
	})
	for w := range 8 {
		calls.Go(func() {
			for i := range 100 {
				name := fmt.Sprintf("%d %d %s", w, i, bytes.Repeat([]byte("x"), i%3*20_000))
				u := ask(soon(t), c, []string{"do", "do!"}[i%2], name)
				want := 1
				if u.Outcome.Execution == session.NotExecuted {
					want = 0
				} else {
					u.is(t, session.OK, session.Executed)
				}
				if n := h.count(name); n != want {
					t.Errorf("%.20q ran %d times: %v", name, n, u.Outcome.Execution)
				}
			}
		})
	}
	calls.Wait()
	close(stop)
	ends.Wait()
	t.Logf("%d connections", proxy.Taken())
}

func TestC27_NoArgumentsAndVeryLongOnes(t *testing.T) {
	h := newHost(t, "a", hostOptions{net: conn.ServerOptions{Conn: conn.Options{MaxFrame: 8192, MaxMessage: 1 << 20}}, methods: []server.Method{{Name: "none", Run: func(j *server.Job) (session.Code, []byte) {
		return session.OK, j.Args
	}}}})
	c := newClient(t, quick(), h.endpoint()) // its frames are 256 KiB, if it may
	u := ask(soon(t), c, "none", "")
	if u.is(t, session.OK, session.Executed); len(u.Reply) != 0 {
		t.Errorf("%q", u.Reply)
	}
	whole := ask(soon(t), c, "none", string(bytes.Repeat([]byte("x"), 1<<20)))
	if whole.is(t, session.OK, session.Executed); !bytes.Equal(whole.Reply, whole.Args) {
		t.Errorf("%d bytes of %d", len(whole.Reply), len(whole.Args))
	}
	long := ask(soon(t), c, "do", string(make([]byte, 1<<20+1)))
	long.is(t, session.Invalid, session.NotExecuted)
	if long.Text == "" {
		t.Error("nobody says why")
	}
	ask(soon(t), c, "none", "x").is(t, session.OK, session.Executed)
}

func TestC27_FourGiBAreRefusedFromTheHeader(t *testing.T) {
	message := frame.Ext{Method: 1, MessageLen: 4<<30 + 1}
	head := frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: frame.PriorityNormal, Seq: 1}
	long := frame.Append(nil, &frame.Header{Type: frame.TypeCall, Priority: frame.PriorityNormal, Seq: 1}, (&frame.Ext{Method: 1}).Append(nil), nil)
	binary.LittleEndian.PutUint32(long, 0xffffffff)
	for name, x := range map[string]struct {
		says []byte
		told string
	}{
		"of a message": {frame.Append(nil, &head, message.Append(nil), make([]byte, 100)), "4294967297 bytes"},
		"of a frame":   {append(long, make([]byte, 1000)...), "4294967287 bytes" /* and its extension has 8 */},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "a", hostOptions{})
			nc, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			hello := frame.Hello{MinVersion: frame.MinVersion, MaxVersion: frame.MaxVersion, Limits: frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 20}}
			out := frame.Append([]byte(frame.Magic), &frame.Header{Type: frame.TypeHello}, nil, hello.Append(nil))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := nc.Write(append(out, x.says...)); err != nil {
				t.Fatal(err)
			}
			_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(nc)
			runtime.ReadMemStats(&after)
			if !bytes.Contains(answer, []byte(x.told)) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answer is %q, %v", answer, err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n >= 1<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
		})
	}
}

func TestC27_ManyOutstandingCallsAreCancelledTogether(t *testing.T) {
	calls := 100_000
	if raced {
		calls = 10_000
	}
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	o := quick()
	o.Grace = never
	c := newClient(t, o, h.endpoint())
	ask(soon(t), c, "who", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	all := make([]Call, calls)
	ends := make(chan *Call, calls)
	for i := range all {
		all[i] = Call{Method: "wait", Args: []byte("x")}
		c.Start(ctx, &all[i], func(u *Call) { ends <- u })
	}
	for range 512 {
		<-g.entered
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	threads := regexp.MustCompile(`Threads:\s+(\d+)`).FindSubmatch(status)
	began := time.Now()
	cancel()
	ran := 0
	for range calls {
		u := <-ends
		switch {
		case u.Outcome.Code == session.Canceled && u.Outcome.Execution == session.NotExecuted:
		case u.Outcome.Execution == session.Executed && u.Outcome.Code == session.Failed:
			ran++
		default:
			t.Errorf("%+v", u.Outcome)
		}
	}
	each := (int(after.HeapAlloc+after.StackInuse) - int(before.HeapAlloc+before.StackInuse)) / calls
	t.Logf("%d outstanding calls: %d bytes each, %s threads, cancelled in %v, %d had started", calls, each, threads[1], time.Since(began), ran)
	if each >= 2<<10 && !raced { // 512 of them run, with a goroutine at the server
		t.Errorf("a call that waits has %d bytes", each)
	}
	if n, _ := strconv.Atoi(string(threads[1])); n >= 50 {
		t.Errorf("%d threads", n)
	}
}

func TestC27_AHandlerThatNeverReturns(t *testing.T) {
	g := newGate()
	g.deaf = true
	h := newHost(t, "a", hostOptions{core: server.Options{Limit: 2}, methods: []server.Method{{Name: "wait", Run: g.run}}})
	o := quick()
	o.Grace = 10 * time.Millisecond
	c := newClient(t, o, h.endpoint())
	ctx, cancel := context.WithTimeout(soon(t), time.Second)
	defer cancel()
	began := time.Now()
	ask(ctx, c, "wait", "x").is(t, session.DeadlineExceeded, session.Indeterminate)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for range 10 {
		ask(soon(t), c, "do", "y").is(t, session.OK, session.Executed)
	}
	close(g.open)
}
