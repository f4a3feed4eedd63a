package grpcdoor

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// native returns a way to call "count" by the native door.
func (r *rig) native() func(args string) string {
	r.t.Helper()
	c, err := client.New(client.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.Update([]conn.Endpoint{{ID: "a", TCP: r.addr}}); err != nil {
		r.t.Fatal(err)
	}
	return func(args string) string {
		u := client.Call{Method: "count", Args: []byte(args)}
		c.Do(soon(r.t), &u)
		if u.Outcome.Code != session.OK {
			return u.Outcome.Code.String() + " " + u.Text
		}
		return string(u.Reply)
	}
}

func TestACancellationOvertakesItsCall(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	in := c.next("count", "")
	out, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 1})
	if err != nil || out.GetFailure().GetCode() != pb.Code_CODE_CANCELED || out.GetFailure().GetExecution() != pb.Execution_EXECUTION_NOT_EXECUTED {
		t.Errorf("%v, %v", out, err)
	}
	_, err = c.rpc.Invoke(soon(t), in)
	wants(t, err, codes.Canceled, pb.Code_CODE_CANCELED, pb.Execution_EXECUTION_NOT_EXECUTED)
	r.ran(0)
}

func TestACancellationInterruptsARun(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("slow", ""))
	r.entered()
	out, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 1})
	if f := out.GetFailure(); err != nil || f.GetCode() != pb.Code_CODE_FAILED || f.GetText() != "context canceled" || f.GetExecution() != pb.Execution_EXECUTION_EXECUTED {
		t.Errorf("%v, %v", out, err)
	}
	wants(t, (<-done).err, codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED)
}

func TestACancellationThatComesTooLateHasTheResult(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	if _, err := c.call("count", "x"); err != nil {
		t.Fatal(err)
	}
	out, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 1})
	if err != nil || out.GetFailure() != nil || string(out.GetResult()) != "ran with x" {
		t.Errorf("%v, %v", out, err)
	}
}

func TestACancellationMayGiveUpWaiting(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("deaf", ""))
	r.entered()
	ctx, cancel := context.WithCancel(soon(t))
	gone := make(chan error, 1)
	go func() {
		_, err := c.rpc.Cancel(ctx, &pb.CancelRequest{Session: c.session, Seq: 1})
		gone <- err
	}()
	r.until("both wait", func() bool { return r.door.uses() == 2 })
	cancel()
	if got, _ := failureOf(<-gone); got != codes.Canceled {
		t.Errorf("%v", got)
	}
	r.leave <- struct{}{}
	if a := <-done; a.result != "at last" || a.err != nil {
		t.Errorf("a handler that is deaf returns what it has: %+v", a)
	}
}

func TestTheDeadlineIsTheCalls(t *testing.T) {
	var clock hands
	clock.Store(int64(1000 * time.Hour)) // the core's clock has nothing to do with the day's
	r := newRig(t, server.Options{Clock: clock.now}, Options{})
	c := r.open(r.dial())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
	defer cancel()
	out, err := c.rpc.Invoke(ctx, c.next("left", ""))
	if err != nil || string(out.GetResult()) != "10h0m0s" {
		t.Errorf("%v, %v", out, err)
	}
}

func TestADeadlineInterruptsARun(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	in := c.next("slow", "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.rpc.Invoke(ctx, in); err == nil {
		t.Error("there was a result")
	}
	r.entered()
	_, err := c.rpc.Invoke(soon(t), in) // with time of its own: the call's deadline is that of the first
	f := wants(t, err, codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED)
	if f.GetText() != context.DeadlineExceeded.Error() {
		t.Errorf("%v", f)
	}
	r.ran(1)
}

// TestAnRPCThatEndsBeforeItsCallSaysNothingOfIt: the client is to ask what has become of the
// call, and would not if it were told that it has ended. A call without a session cannot be
// asked for.
func TestAnRPCThatEndsBeforeItsCallSaysNothingOfIt(t *testing.T) {
	var clock hands // stands still: no call's time is over
	r := newRig(t, server.Options{Clock: clock.now}, Options{})
	c, service := r.open(r.dial()), calls{door: r.door}
	in := c.next("deaf", "")
	for _, end := range []codes.Code{codes.DeadlineExceeded, codes.Canceled} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if end == codes.Canceled {
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		defer cancel()
		_, err := service.Invoke(ctx, in)
		if code, f := failureOf(err); code != end || f != nil {
			t.Errorf("in a session: %v, %v", err, f)
		}
		_, err = service.Cancel(ctx, &pb.CancelRequest{Session: c.session, Seq: in.GetSeq()})
		if code, f := failureOf(err); code != end || f != nil {
			t.Errorf("Cancel: %v, %v", err, f)
		}
		_, err = service.Invoke(ctx, &pb.InvokeRequest{Method: "deaf"})
		if code, f := failureOf(err); code != end || f == nil {
			t.Errorf("without a session: %v, %v", err, f)
		}
	}
}

func TestACallWhoseDeadlineComesInTheQueueDoesNotRun(t *testing.T) {
	var clock hands
	r := newRig(t, server.Options{Limit: 1, Clock: clock.now}, Options{})
	c := r.open(r.dial())
	first := later(soon(t), c.rpc, c.next("deaf", ""))
	r.entered()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	second := later(ctx, c.rpc, c.next("count", ""))
	r.until("it waits", func() bool { return r.core.Counts().Waiting == 1 })
	clock.Add(int64(2 * time.Minute))
	r.leave <- struct{}{}
	if a := <-first; a.err != nil {
		t.Error(a.err)
	}
	wants(t, (<-second).err, codes.DeadlineExceeded, pb.Code_CODE_DEADLINE_EXCEEDED, pb.Execution_EXECUTION_NOT_EXECUTED)
	r.ran(1)
}

func TestAServerThatDrainsRunsNothing(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	running := later(soon(t), c.rpc, c.next("slow", ""))
	r.entered()
	r.door.SetServing(false)
	drained := make(chan error, 1)
	go func() { drained <- r.core.Drain(soon(t)) }()
	var err error
	r.until("it drains", func() bool {
		_, err = c.rpc.Invoke(soon(t), c.next("echo", ""))
		return err != nil
	})
	_, err = c.rpc.Invoke(soon(t), c.next("count", ""))
	wants(t, err, codes.Unavailable, pb.Code_CODE_REFUSED, pb.Execution_EXECUTION_NOT_EXECUTED)
	_, err = c.rpc.Invoke(soon(t), &pb.InvokeRequest{Method: "echo"})
	wants(t, err, codes.Unavailable, pb.Code_CODE_REFUSED, pb.Execution_EXECUTION_NOT_EXECUTED)
	r.leave <- struct{}{}
	if a := <-running; a.result != "slowly" || a.err != nil {
		t.Errorf("what ran before: %+v", a)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	r.ran(1)
}

func TestAFullServerSaysWhenToTryAgain(t *testing.T) {
	r := newRig(t, server.Options{Limit: 1, Queue: 1, Domain: session.DomainOptions{Sessions: 1}}, Options{})
	c := r.open(r.dial())
	_, err := c.rpc.Open(soon(t), &pb.OpenRequest{})
	wants(t, err, codes.Unavailable, pb.Code_CODE_REFUSED, pb.Execution_EXECUTION_NOT_EXECUTED)
	one := later(soon(t), c.rpc, c.next("slow", ""))
	r.entered()
	two := later(soon(t), c.rpc, c.next("count", ""))
	r.until("one waits", func() bool { return r.core.Counts().Waiting == 1 })
	_, err = c.rpc.Invoke(soon(t), c.next("count", ""))
	f := wants(t, err, codes.Unavailable, pb.Code_CODE_REFUSED, pb.Execution_EXECUTION_NOT_EXECUTED)
	if f.GetRetryAfter().AsDuration() != 100*time.Millisecond {
		t.Errorf("%v", f)
	}
	r.leave <- struct{}{}
	if a, b := <-one, <-two; a.err != nil || b.err != nil {
		t.Error(a, b)
	}
}

func TestMisuseIsToldToWhoMisuses(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	if _, err := c.call("count", "x"); err != nil {
		t.Fatal(err)
	}
	s := c.session
	for _, row := range []struct {
		name string
		in   *pb.InvokeRequest
		grpc codes.Code
		code pb.Code
		ran  pb.Execution
	}{
		{"same seq, other args", &pb.InvokeRequest{Session: s, Seq: 1, Method: "count", Args: []byte("y")}, codes.FailedPrecondition, pb.Code_CODE_MISUSED, pb.Execution_EXECUTION_INDETERMINATE},
		{"same seq, other method", &pb.InvokeRequest{Session: s, Seq: 1, Method: "echo", Args: []byte("x")}, codes.FailedPrecondition, pb.Code_CODE_MISUSED, pb.Execution_EXECUTION_INDETERMINATE},
		{"a fence that is none", &pb.InvokeRequest{Session: s, Seq: 2, Method: "count", Fence: &pb.Fence{Version: 1, Last: 2, Open: []uint64{5}}}, codes.FailedPrecondition, pb.Code_CODE_MISUSED, pb.Execution_EXECUTION_INDETERMINATE},
		{"no seq", &pb.InvokeRequest{Session: s, Method: "count"}, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED},
		{"a short secret", &pb.InvokeRequest{Session: &pb.Session{Id: s.GetId(), Secret: []byte("s")}, Seq: 3, Method: "count"}, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED},
		{"a codec that is none", &pb.InvokeRequest{Session: s, Seq: 4, Method: "count", Codec: 256}, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED},
		{"seq without session", &pb.InvokeRequest{Seq: 4, Method: "count"}, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.rpc.Invoke(soon(t), row.in)
			wants(t, err, row.grpc, row.code, row.ran)
		})
	}
	for name, err := range map[string]error{
		"Cancel": second(c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: s})),
		"Ack":    second(c.rpc.Ack(soon(t), &pb.AckRequest{})),
		"Renew":  second(c.rpc.Renew(soon(t), &pb.RenewRequest{})),
		"Close":  second(c.rpc.Close(soon(t), &pb.CloseRequest{})),
		"Open":   second(c.rpc.Open(soon(t), &pb.OpenRequest{Former: &pb.Session{}})),
	} {
		t.Run(name+" of no session", func(t *testing.T) {
			wants(t, err, codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED)
		})
	}
	r.ran(1)
}

func second[T any](_ T, err error) error { return err }

func TestTooManyOpenCallsAreTooMany(t *testing.T) {
	r := newRig(t, server.Options{Domain: session.DomainOptions{Open: 1}}, Options{MaxOpen: 1})
	c := r.open(r.dial())
	var err error
	for range 1 + 128 + 1 { // what is not acknowledged has some room beside
		_, err = c.rpc.Invoke(soon(t), c.next("count", ""))
	}
	wants(t, err, codes.FailedPrecondition, pb.Code_CODE_MISUSED, pb.Execution_EXECUTION_INDETERMINATE)
}

func TestALaneKeepsItsOrder(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	one, two := c.next("slow", "1"), c.next("count", "2")
	one.Lane, two.Lane = 7, 7
	after := later(soon(t), c.rpc, two) // it comes first
	r.until("it is there", func() bool { return r.core.Counts().Entries == 1 })
	before := later(soon(t), c.rpc, one)
	r.entered()
	r.ran(1)
	r.leave <- struct{}{}
	if a, b := <-before, <-after; a.result != "slowly" || b.result != "ran with 2" {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestAFenceKeepsWhatWasGivenUpFromStarting(t *testing.T) {
	r := newRig(t, server.Options{Limit: 1}, Options{})
	c := r.open(r.dial())
	running := later(soon(t), c.rpc, c.next("deaf", ""))
	r.entered()
	ctx, cancel := context.WithCancel(soon(t))
	lost := later(ctx, c.rpc, c.next("count", "never"))
	r.until("it waits", func() bool { return r.core.Counts().Waiting == 1 })
	cancel()
	<-lost
	in := c.next("count", "x")
	in.Fence = &pb.Fence{Version: 1, Last: 3, Open: []uint64{1, 3}} // 2 was given up
	last := later(soon(t), c.rpc, in)
	r.until("it waits too", func() bool { return r.core.Counts().Waiting == 2 })
	r.leave <- struct{}{}
	if a, b := <-running, <-last; a.err != nil || b.result != "ran with x" {
		t.Errorf("%+v, %+v", a, b)
	}
	out, err := c.rpc.Ack(soon(t), &pb.AckRequest{Session: c.session, Ack: 3})
	if err != nil || out.GetFence() != 1 {
		t.Errorf("%v, %v", out, err)
	}
	r.ran(2)
}

func TestTheEndOfASessionEndsItsCalls(t *testing.T) {
	for name, end := range map[string]func(*caller) error{
		"it is closed":            func(c *caller) error { return second(c.rpc.Close(soon(c.t), &pb.CloseRequest{Session: c.session})) },
		"another takes its place": func(c *caller) error { return second(c.rpc.Open(soon(c.t), &pb.OpenRequest{Former: c.session})) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, server.Options{Limit: 1}, Options{})
			c := r.open(r.dial())
			one := later(soon(t), c.rpc, c.next("slow", ""))
			r.entered()
			two := later(soon(t), c.rpc, c.next("count", ""))
			r.until("it waits", func() bool { return r.core.Counts().Waiting == 1 })
			if err := end(c); err != nil {
				t.Fatal(err)
			}
			wants(t, (<-one).err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
			wants(t, (<-two).err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
			r.until("nothing runs", func() bool { return r.core.Counts().Running == 0 })
			r.ran(1)
			if err := second(c.rpc.Close(soon(t), &pb.CloseRequest{Session: c.session})); err != nil {
				t.Errorf("to close it again: %v", err)
			}
		})
	}
}

func TestAnAckOfACallThatRunsEndsItsWaiters(t *testing.T) {
	r := newRig(t, server.Options{}, Options{Lease: 40 * time.Millisecond})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("slow", ""))
	r.entered()
	if _, err := c.rpc.Ack(soon(t), &pb.AckRequest{Session: c.session, Ack: 1}); err != nil {
		t.Fatal(err)
	}
	wants(t, (<-done).err, codes.FailedPrecondition, pb.Code_CODE_CLOSED, pb.Execution_EXECUTION_INDETERMINATE)
}

func TestACallWithoutASessionRunsOnce(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	rpc := r.dial()
	for range 2 {
		out, err := rpc.Invoke(soon(t), &pb.InvokeRequest{Method: "count", Args: []byte("x")})
		if err != nil || string(out.GetResult()) != "ran with x" {
			t.Errorf("%v, %v", out, err)
		}
	}
	r.ran(2)
	ctx := metadata.AppendToOutgoingContext(soon(t), "grpc-previous-rpc-attempts", "1")
	_, err := rpc.Invoke(ctx, &pb.InvokeRequest{Method: "count"})
	wants(t, err, codes.FailedPrecondition, pb.Code_CODE_MISUSED, pb.Execution_EXECUTION_INDETERMINATE)
	r.ran(2)
	ctx, cancel := context.WithCancel(soon(t))
	done := later(ctx, rpc, &pb.InvokeRequest{Method: "slow"})
	r.entered()
	cancel()
	<-done
	r.until("it is interrupted", func() bool { n := r.core.Counts(); return n.Running == 0 && n.Sessions == 0 })
}

func TestBigMessages(t *testing.T) {
	r := newRig(t, server.Options{}, Options{MaxMessage: 6 << 20})
	c := r.open(r.dial())
	for _, size := range []int{0, 1, 128, 129, 64 << 10, 5 << 20} {
		args := bytes.Repeat([]byte{'x'}, size)
		if got, err := c.call("echo", string(args)); got != string(args) || err != nil {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	_, err := c.call("echo", string(make([]byte, 7<<20)))
	if got, f := failureOf(err); got != codes.ResourceExhausted || f != nil {
		t.Errorf("too long: %v", err)
	}
}

func TestTheHandlerHasTraceAndCodec(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	for parent, want := range map[string]string{
		"00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01": "\x02\x01\x02\x03\x04\x05\x06\a\b\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x01",
		"00-01-02-03": "\x02", "": "\x02", "00-0102030405060708090a0b0c0d0e0f10-111213141516171z-01": "\x02",
	} {
		ctx := soon(t)
		if parent != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
		}
		in := c.next("trace", "")
		in.Codec = 2
		if out, err := c.rpc.Invoke(ctx, in); err != nil || string(out.GetResult()) != want {
			t.Errorf("%q: %q, %v", parent, out.GetResult(), err)
		}
	}
}

// table opens the journal of a core.
func table(t *testing.T, file string) server.Options {
	t.Helper()
	j, err := journal.Open(file, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return server.Options{Journal: j, ID: j.ID(), Life: uint64(j.Life())}
}

func TestARestartForgetsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	before := newRig(t, table(t, file), Options{})
	c := before.open(before.dial())
	done, interrupted := c.next("count", "x"), c.next("deaf", "")
	if _, err := c.rpc.Invoke(soon(t), done); err != nil {
		t.Fatal(err)
	}
	_ = later(soon(t), c.rpc, interrupted)
	before.entered()
	crashed := filepath.Join(t.TempDir(), "journal") // as a crash would leave it
	copyFile(t, file, crashed)

	after := newRig(t, table(t, crashed), Options{})
	rpc := after.dial()
	out, err := rpc.Invoke(soon(t), done)
	if err != nil || string(out.GetResult()) != "ran with x" {
		t.Errorf("what had ended: %v, %v", out, err)
	}
	_, err = rpc.Invoke(soon(t), interrupted)
	wants(t, err, codes.Aborted, pb.Code_CODE_LOST, pb.Execution_EXECUTION_INDETERMINATE)
	renewed, err := rpc.Renew(soon(t), &pb.RenewRequest{Session: c.session})
	if err != nil || renewed.GetLife() == c.opened.GetLife() {
		t.Errorf("life %d again: %v", renewed.GetLife(), err)
	}
	after.ran(0)
	if again := after.open(rpc); !bytes.Equal(again.opened.GetDomain(), c.opened.GetDomain()) {
		t.Error("it is another table")
	}
}

func TestAnswersWaitForTheDisk(t *testing.T) {
	opts := table(t, filepath.Join(t.TempDir(), "journal"))
	opts.Sync = true
	r := newRig(t, opts, Options{})
	c := r.open(r.dial())
	in := c.next("count", "x")
	for range 3 {
		if out, err := c.rpc.Invoke(soon(t), in); err != nil || string(out.GetResult()) != "ran with x" {
			t.Errorf("%v, %v", out, err)
		}
	}
	out, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 1})
	if err != nil || string(out.GetResult()) != "ran with x" {
		t.Errorf("%v, %v", out, err)
	}
	_, err = c.rpc.Invoke(soon(t), &pb.InvokeRequest{Session: &pb.Session{Id: make([]byte, 16), Secret: make([]byte, 16)}, Seq: 1, Method: "count"})
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	if _, err := c.rpc.Invoke(soon(t), &pb.InvokeRequest{Method: "count"}); err != nil {
		t.Error(err)
	}
	r.ran(2)
}

func TestARestartWithoutAJournalIsAmnesiaAndSaysSo(t *testing.T) {
	before, after := newRig(t, server.Options{}, Options{}), newRig(t, server.Options{}, Options{})
	c := before.open(before.dial())
	in := c.next("count", "")
	if _, err := c.rpc.Invoke(soon(t), in); err != nil {
		t.Fatal(err)
	}
	_, err := after.dial().Invoke(soon(t), in)
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	after.ran(0)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// crasher is an executor whose workers die.
type crasher struct{ core *server.Core }

func (c *crasher) Execute(j *server.Job) {
	go c.core.Crash(j, true, wire.Failure(0, "worker died: SIGSEGV", []byte("the report")))
}
func (c *crasher) Interrupt(*server.Job) {}

func TestACrashIsAnAnswerWithAReport(t *testing.T) {
	exec := &crasher{}
	core, err := server.New(exec, server.Options{Domain: session.DomainOptions{Strikes: 2}})
	if err != nil {
		t.Fatal(err)
	}
	exec.core = core
	defer core.Close()
	if err := core.Register(server.Method{Name: "die"}); err != nil {
		t.Fatal(err)
	}
	door, err := New(core, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	rpc := calls{door: door} // no network is needed for that
	for i := range 2 {
		_, err = rpc.Invoke(soon(t), &pb.InvokeRequest{Method: "die"})
		f := wants(t, err, codes.Internal, pb.Code_CODE_CRASHED, pb.Execution_EXECUTION_INDETERMINATE)
		if f.GetText() != "worker died: SIGSEGV" || string(f.GetDetail()) != "the report" {
			t.Errorf("time %d: %v", i, f)
		}
	}
	_, err = rpc.Invoke(soon(t), &pb.InvokeRequest{Method: "die"})
	wants(t, err, codes.FailedPrecondition, pb.Code_CODE_POISONED, pb.Execution_EXECUTION_NOT_EXECUTED)
}
