package grpcdoor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"rpcpool.dev/rpc/conn"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// most is the longest message here.
const most = 4 << 20

// roomy is a rig with room for three of the longest messages.
func roomy(t *testing.T) (*rig, *conn.Room) {
	t.Helper()
	room := conn.NewRoom(3 * most)
	return newRig(t, server.Options{}, Options{Room: room, MaxMessage: most}), room
}

// empty waits until all room is given back.
func (r *rig) empty(room *conn.Room) {
	r.t.Helper()
	r.until("all room is given back", func() bool { return room.Free() == room.Size() })
}

// TestManyGreedyClientsHaveNoMoreThanTheRoom: who would have more is told so, and others go on.
func TestManyGreedyClientsHaveNoMoreThanTheRoom(t *testing.T) {
	r, room := roomy(t)
	args := strings.Repeat("x", most-1000)
	var waiting []<-chan answered
	for range 2 {
		waiting = append(waiting, later(t.Context(), r.dial(), &pb.InvokeRequest{Method: "slow", Args: []byte(args)}))
		r.entered()
	}
	if free := room.Free(); free > most || free < 0 {
		t.Errorf("two calls have left room for %d bytes", free)
	}
	refused := 0
	var clients sync.WaitGroup
	var mu sync.Mutex
	for range 8 {
		c := r.dial()
		clients.Go(func() {
			for range 4 {
				out, err := c.Invoke(soon(t), &pb.InvokeRequest{Method: "echo", Args: []byte(args)})
				s := status.Convert(err)
				switch {
				case err == nil && string(out.GetResult()) == args:
				case s.Code() == codes.ResourceExhausted && s.Message() == noRoom && len(s.Details()) == 0:
					mu.Lock()
					refused++
					mu.Unlock()
				default:
					t.Errorf("%d bytes, %v", len(out.GetResult()), err)
				}
			}
		})
	}
	small := r.open(r.dial())
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	for least, over := room.Free(), false; !over; {
		select {
		case <-done:
			over = true
			if least < 0 {
				t.Errorf("there was room for %d bytes less than nothing", -least)
			}
		default:
			least = min(least, room.Free())
			if got, err := small.call("echo", "hello"); err != nil || got != "hello" {
				t.Errorf("another client is told %q, %v", got, err)
			}
		}
	}
	if refused == 0 {
		t.Error("all have found room")
	}
	for _, w := range waiting {
		r.leave <- struct{}{}
		if a := <-w; a.err != nil {
			t.Error(a.err)
		}
	}
	r.empty(room)
}

// TestAMessagesRoomIsGivenBack, whatever becomes of it.
func TestAMessagesRoomIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, r *rig){
		"the call ends": func(t *testing.T, r *rig) {
			for _, n := range []int{1, 9 << 10, 100 << 10, 2 << 20} {
				if _, err := r.dial().Invoke(soon(t), &pb.InvokeRequest{Method: "echo", Args: make([]byte, n)}); err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
		},
		"it is malformed": func(t *testing.T, r *rig) {
			_, err := r.dial().Invoke(soon(t), &pb.InvokeRequest{Method: strings.Repeat("x", 1<<20)})
			wants(t, err, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED)
		},
		"it is too long": func(t *testing.T, r *rig) {
			_, err := r.dial().Invoke(soon(t), &pb.InvokeRequest{Method: "echo", Args: make([]byte, most)})
			if s := status.Convert(err); s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), "is longer than") {
				t.Error(err)
			}
		},
		"it is asked for twice": func(t *testing.T, r *rig) {
			c := r.open(r.dial())
			in := c.next("slow", strings.Repeat("x", 1<<20))
			one := later(soon(t), c.rpc, in)
			r.entered()
			two := later(soon(t), r.dial(), in)
			r.until("both are there", func() bool { return r.door.uses() == 2 })
			r.leave <- struct{}{}
			for _, a := range []answered{<-one, <-two} {
				if a.err != nil || a.result != "slowly" {
					t.Errorf("%q, %v", a.result, a.err)
				}
			}
		},
		"the client goes": func(t *testing.T, r *rig) {
			ctx, cancel := context.WithCancel(t.Context())
			c := r.open(r.dial())
			done := later(ctx, c.rpc, c.next("slow", strings.Repeat("x", 1<<20)))
			r.entered()
			cancel()
			<-done
			if free := r.door.opts.Room.Free(); free > 2*most+most/2+most/4 {
				t.Errorf("the call runs, and its arguments have no room: %d bytes are free", free)
			}
			r.leave <- struct{}{}
		},
		"it does not come": func(t *testing.T, r *rig) {
			nc, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			announce(t, nc, most/2)
			r.until("it has room", func() bool { return r.door.opts.Room.Free() < 2*most+most/2 })
			_ = nc.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, room := roomy(t)
			end(t, r)
			r.empty(room)
		})
	}
}

// announce sends the beginning of an RPC whose message is to have n bytes.
func announce(t *testing.T, nc net.Conn, n int) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	h := hpack.NewEncoder(&head)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", pb.Calls_Invoke_FullMethodName}, {":authority", "x"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = h.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	f := http2.NewFramer(nc, nc)
	if err := errors.Join(
		f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}),
		f.WriteData(1, false, binary.BigEndian.AppendUint32([]byte{0}, uint32(n))),
	); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAnRPCThatFindsNoRoomIsRefusedBeforeItsMessageComes: the streams that a client may have open are
// bounded by the room, too, and probes are let through.
func TestAnRPCThatFindsNoRoomIsRefusedBeforeItsMessageComes(t *testing.T) {
	r, room := roomy(t)
	taken := room.Size() - allowance/2
	if !room.Spare(taken) {
		t.Fatal("there is no room")
	}
	cc := r.conn()
	_, err := pb.NewCallsClient(cc).Invoke(soon(t), &pb.InvokeRequest{Method: "count"})
	if s := status.Convert(err); s.Code() != codes.ResourceExhausted || s.Message() != noRoom {
		t.Error(err)
	}
	r.ran(0)
	if _, err := healthpb.NewHealthClient(cc).Check(soon(t), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	room.Put(taken)
	if _, err := pb.NewCallsClient(cc).Invoke(soon(t), &pb.InvokeRequest{Method: "count"}); err != nil {
		t.Error(err)
	}
	r.ran(1)
	r.empty(room)
}

// TestWhoHasNoTokenHasNoRoom: nothing of its message is read.
func TestWhoHasNoTokenHasNoRoom(t *testing.T) {
	room := conn.NewRoom(3 * most)
	r := newRig(t, server.Options{}, Options{Room: room, MaxMessage: most, Admit: func(context.Context, []byte) error { return errNotAdmitted }})
	if !room.Spare(2*most) || !room.Spare(most/2) {
		t.Fatal("there is no room")
	}
	_, err := r.dial().Invoke(soon(t), &pb.InvokeRequest{Method: "count", Args: make([]byte, most/2)})
	if code, _ := failureOf(err); code != codes.Unauthenticated {
		t.Error(err)
	}
}

func TestRoomForLessThanTheLongestMessageIsRefused(t *testing.T) {
	if _, err := New(nil, Options{Room: conn.NewRoom(64 << 20)}); err == nil {
		t.Error("a message would never have room")
	}
}

// lent is a result's memory.
type lent struct {
	mu        sync.Mutex
	users     int
	abandoned int
}

func (l *lent) Retain()  { l.count(1, 0) }
func (l *lent) Release() { l.count(-1, 0) }
func (l *lent) Abandon() { l.count(-1, 1) }

func (l *lent) count(users, abandoned int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users, l.abandoned = l.users+users, l.abandoned+abandoned
}

func (l *lent) is(users, abandoned int) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.users == users && l.abandoned == abandoned
	}
}

// isFree tells whether nobody has it any more.
func (l *lent) isFree() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users == 0
}

// lends registers a method whose result is in memory that wants to be given back.
func (r *rig) lends(n int) (result string, memory *lent) {
	r.t.Helper()
	result, memory = strings.Repeat("x", n), new(lent)
	err := r.core.Register(server.Method{Name: "lent", Run: func(j *server.Job) (session.Code, []byte) {
		memory.Retain()
		j.Memory = memory
		return session.OK, []byte(result)
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return result, memory
}

// TestAResultsMemoryIsGivenBackWhenItIsSent to all who have asked, and the table has forgotten it.
func TestAResultsMemoryIsGivenBackWhenItIsSent(t *testing.T) {
	for _, n := range []int{1, 1000, 10_000, 3 << 20} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r := newRig(t, server.Options{}, Options{})
			result, memory := r.lends(n)
			c := r.open(r.dial())
			in := c.next("lent", "")
			for range 2 {
				if out, err := c.rpc.Invoke(soon(t), in); err != nil || string(out.GetResult()) != result {
					t.Errorf("%d bytes, %v", len(out.GetResult()), err)
				}
			}
			out, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 1})
			if err != nil || string(out.GetResult()) != result {
				t.Errorf("%d bytes, %v", len(out.GetResult()), err)
			}
			r.until("only the table has it", memory.is(1, 0))
			if _, err := c.rpc.Ack(soon(t), &pb.AckRequest{Session: c.session, Ack: 1}); err != nil {
				t.Fatal(err)
			}
			r.until("nobody has it", memory.is(0, 0))
			alone, err := r.dial().Invoke(soon(t), &pb.InvokeRequest{Method: "lent"})
			if err != nil || string(alone.GetResult()) != result {
				t.Errorf("without a session: %d bytes, %v", len(alone.GetResult()), err)
			}
			r.until("nobody has it again", memory.is(0, 0))
		})
	}
}

// TestAResultThatIsNotReadIsGivenUpWithItsConnection, which is closed while others wait for room.
func TestAResultThatIsNotReadIsGivenUpWithItsConnection(t *testing.T) {
	for name, end := range map[string]func(nc net.Conn, results *conn.Room){
		"the client goes":      func(nc net.Conn, _ *conn.Room) { _ = nc.Close() },
		"others wait for room": func(_ net.Conn, results *conn.Room) { results.Owe(results.Size()) },
	} {
		t.Run(name, func(t *testing.T) {
			results := conn.NewRoom(1 << 20)
			r := newRig(t, server.Options{Room: results, ReadAfter: time.Millisecond}, Options{})
			_, memory := r.lends(200 << 10)
			nc, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			in, err := proto.Marshal(&pb.InvokeRequest{Method: "lent"})
			if err != nil {
				t.Fatal(err)
			}
			if err := announce(t, nc, len(in)).WriteData(1, true, in); err != nil {
				t.Fatal(err)
			}
			r.until("it is being sent", memory.is(1, 0)) // its session has ended
			end(nc, results)
			r.until("nobody has it", memory.isFree) // gRPC has given it back, or it was given up before
		})
	}
}
