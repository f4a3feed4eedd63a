package workers_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// bounded is a setting whose results have so much room.
func bounded(room *conn.Room, after time.Duration) setting {
	return setting{
		workers: workers.Options{Workers: 2, Concurrency: 16, Room: room, MaxReply: 512 << 10},
		server:  server.Options{Room: room, ReadAfter: after},
		conn:    conn.Options{MaxQueue: 64 << 10, Write: time.Hour}, // else clients that read nothing would be closed for that
	}
}

// greedy is a client that reads nothing any more when still is set. It connects once, and what
// it has connected stays until it hangs up.
func (r *rig) greedy() (c *client.Client, still *atomic.Bool, hangUp func()) {
	r.t.Helper()
	still = new(atomic.Bool)
	l, err := net.Listen("unix", r.path+"g")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = l.Close() })
	end := make(chan struct{})
	hangUp = sync.OnceFunc(func() { close(end) })
	r.t.Cleanup(hangUp)
	go func() { // between the client and the server
		to, err := l.Accept()
		_ = l.Close()
		from, err2 := net.Dial("unix", r.path)
		if errors.Join(err, err2) != nil {
			return
		}
		defer to.Close()
		defer from.Close()
		go func() { _, _ = io.Copy(from, to) }()
		for b := make([]byte, 4<<10); !still.Load(); {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			_, _ = to.Write(b[:n])
		}
		<-end
	}()
	c, err = client.New(client.Options{Grace: 50 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.Update([]conn.Endpoint{{ID: "a", Unix: r.path + "g"}}); err != nil {
		r.t.Fatal(err)
	}
	r.by(c, "echo", "hello")
	return c, still, hangUp
}

// by calls by a client that must be answered.
func (r *rig) by(c *client.Client, method, args string) {
	r.t.Helper()
	u := client.Call{Method: method, Args: []byte(args)}
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if c.Do(ctx, &u); u.Outcome.Code != session.OK || string(u.Reply) != args {
		r.t.Errorf("%d bytes: %+v, %d bytes: %s", len(args), u.Outcome, len(u.Reply), u.Text)
	}
}

// lengths of results: long ones, which have room before they come; one of a frame; short ones.
var lengths = map[string]int{"long": 200 << 10, "one frame": 60 << 10, "short": 4 << 10}

// TestResultsOnTheirWayHaveRoomUntilTheyAreSent, and give it back.
func TestResultsOnTheirWayHaveRoomUntilTheyAreSent(t *testing.T) {
	for name, n := range lengths {
		t.Run(name, func(t *testing.T) {
			const size = 2 << 20
			room := conn.NewRoom(size)
			r := newRig(t, bounded(room, time.Minute))
			c, still, hangUp := r.greedy()
			ctx, giveUp := context.WithCancel(t.Context())
			still.Store(true)
			var calls sync.WaitGroup
			for range max(8, min(2<<20/n, 500)) {
				calls.Go(func() { c.Do(ctx, &client.Call{Method: "make", Args: strconv.AppendInt(nil, int64(n), 10)}) })
			}
			eventually(t, "results that are not read have room", func() bool { return room.Free() <= size-300<<10 })
			if free := room.Free(); free < 0 {
				t.Errorf("there is room for %d bytes less than nothing", -free)
			}
			giveUp()
			hangUp()
			calls.Wait()
			eventually(t, "all room is given back", func() bool { return room.Free() == size })
			r.works()
		})
	}
}

// TestResultsAreBoundedWhateverWorkersAnswer: many clients want more at once than there is room
// for, and all have all of it in the end.
func TestResultsAreBoundedWhateverWorkersAnswer(t *testing.T) {
	room := conn.NewRoom(1 << 20)
	r := newRig(t, bounded(room, 0))
	var calls sync.WaitGroup
	for i := range 8 {
		c := r.another(client.Options{})
		for _, n := range []int{300, 4 << 10, 60 << 10, 100 << 10, 500 << 10} {
			calls.Go(func() {
				for range 10 {
					r.by(c, "echo", strings.Repeat(string(rune('a'+i)), n))
				}
			})
		}
	}
	least := room.Free()
	done := make(chan struct{})
	go func() {
		calls.Wait()
		close(done)
	}()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(time.Millisecond):
			least = min(least, room.Free())
		}
	}
	if least < 0 {
		t.Errorf("there was room for %d bytes less than nothing", -least)
	}
	eventually(t, "all room is given back", func() bool { return room.Free() == room.Size() })
}

// TestAClientThatDoesNotReadIsClosedWhenOthersWait for the room that its results have: these are
// not lost, and it is not closed before.
func TestAClientThatDoesNotReadIsClosedWhenOthersWait(t *testing.T) {
	for name, n := range lengths {
		t.Run(name, func(t *testing.T) {
			room := conn.NewRoom(512 << 10)
			r := newRig(t, bounded(room, 10*time.Millisecond))
			c, still, _ := r.greedy()
			ctx, giveUp := context.WithCancel(t.Context())
			still.Store(true)
			var calls sync.WaitGroup
			defer calls.Wait()
			defer giveUp()
			for range 500 {
				calls.Go(func() { c.Do(ctx, &client.Call{Method: "make", Args: strconv.AppendInt(nil, int64(n), 10)}) })
			}
			eventually(t, "there is no room", room.Wanted)
			calls.Go(func() { r.by(r.client, "echo", strings.Repeat("x", 300<<10)) })
			r.by(r.another(client.Options{}), "echo", strings.Repeat("x", 300<<10))
		})
	}
}

// TestAResultForWhichThereIsNeverRoomIsAnError that says so, and nothing else waits for it.
func TestAResultForWhichThereIsNeverRoomIsAnError(t *testing.T) {
	r := newRig(t, bounded(conn.NewRoom(512<<10), 0))
	u := r.call("echo", strings.Repeat("x", 600<<10))
	if u.Outcome.Code != session.ReplyLost || u.Outcome.Execution != session.Executed || !strings.Contains(u.Text, "is longer than what may come in a message") {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
	r.works()
}

// TestItemsOnTheirWayHaveRoom, as results do: one that is not read has it.
func TestItemsOnTheirWayHaveRoom(t *testing.T) {
	room := conn.NewRoom(4 << 20)
	r := newRig(t, bounded(room, time.Minute))
	s := r.stream(soon(t), "upper", "x")
	for range 3 {
		echoes(t, s, strings.Repeat("x", 300<<10))
	}
	eventually(t, "all room is given back", func() bool { return room.Free() == room.Size() })
	sent := make(chan error, 1)
	go func() {
		for range 8 {
			if err := s.Send(t.Context(), bytes.Repeat([]byte("x"), 300<<10)); err != nil {
				sent <- err
				return
			}
		}
		sent <- s.CloseSend(t.Context())
	}()
	eventually(t, "items that are not read have room", func() bool { return room.Free() < room.Size() })
	for range 8 {
		if _, err := s.Recv(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if u := s.Close(); u.Outcome.Code != session.OK {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
	eventually(t, "all room is given back", func() bool { return room.Free() == room.Size() })
}

// TestAWorkerIsNotKilledForAShortAnswerThatWaits: results that a client does not read can have all of the
// channel's window, and then even a short answer stays in the worker when its time is over.
func TestAWorkerIsNotKilledForAShortAnswerThatWaits(t *testing.T) {
	room := conn.NewRoom(512 << 10)
	s := bounded(room, time.Minute)
	s.workers.Workers, s.workers.Concurrency, s.workers.Grace = 1, 1, 500*time.Millisecond
	r := newRig(t, s)
	c, still, hangUp := r.greedy()
	ctx, giveUp := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer giveUp()
	still.Store(true)
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() { c.Do(ctx, &client.Call{Method: "make", Args: strconv.AppendInt(nil, 60<<10, 10)}) })
	}
	calls.Wait()
	eventually(t, "an answer waits", func() bool { return room.Wanted() && r.core.Counts().Running == 1 || r.pool.Status().Crashed > 0 })
	time.Sleep(3 * s.workers.Grace) // nothing is to happen
	hangUp()
	eventually(t, "all room is given back", func() bool { return room.Free() == room.Size() })
	r.works()
	if n := r.pool.Status(); n.Crashed > 0 || len(n.Ends) > 0 {
		t.Errorf("a call was killed while its answer waited: %+v", n)
	}
}
