package grpcdoor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestS3_9_EveryErrorSaysWhetherTheCallRan(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	for _, row := range []struct {
		name   string
		method string
		grpc   codes.Code
		code   pb.Code
		ran    pb.Execution
		text   string
	}{
		{"handler returns an error", "fail", codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED, "no: x"},
		{"handler panics", "panic", codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED, "handler panicked: ouch"},
		{"handler does not know the arguments", "picky", codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED, "no such arguments"},
		{"there is no such method", "none", codes.Unimplemented, pb.Code_CODE_UNIMPLEMENTED, pb.Execution_EXECUTION_NOT_EXECUTED, "there is no such method"},
		{"a method without a name", "", codes.InvalidArgument, pb.Code_CODE_INVALID, pb.Execution_EXECUTION_NOT_EXECUTED, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.call(row.method, "x")
			f := wants(t, err, row.grpc, row.code, row.ran)
			if row.text != "" && f.GetText() != row.text {
				t.Errorf("text %q", f.GetText())
			}
			if want := fmt.Sprintf("%x/%d", c.session.GetId(), c.seq); f.GetXid() != want {
				t.Errorf("xid %q, want %q", f.GetXid(), want)
			}
		})
	}
	_, err := c.call("fail", strings.Repeat("d", 5000))
	f := wants(t, err, codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED)
	if len(f.GetDetail()) != detailMost || f.GetDetailCut() != 5000-detailMost || f.GetRetryAfter().AsDuration() != 1500*time.Millisecond {
		t.Errorf("%d bytes of detail, %d cut, retry after %v", len(f.GetDetail()), f.GetDetailCut(), f.GetRetryAfter())
	}
	whole, err := c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: c.seq})
	if err != nil || len(whole.GetFailure().GetDetail()) != 5000 || whole.GetFailure().GetDetailCut() != 0 {
		t.Errorf("the whole of it: %v, %v", whole, err)
	}
}

func TestTheLongestErrorFitsWhereClientsWantIt(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial(grpc.WithMaxHeaderListSize(8 << 10)))
	_, err := c.call("loud", "")
	f := wants(t, err, codes.Unknown, pb.Code_CODE_FAILED, pb.Execution_EXECUTION_EXECUTED)
	if len(f.GetText()) != 1024 || f.GetDetailCut() != 5000-detailMost {
		t.Errorf("%d bytes of text, %d cut", len(f.GetText()), f.GetDetailCut())
	}
}

func TestS3_15_ACallThatIsSentThreeTimesRunsOnce(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	in := c.next("count", "args")
	for i := range 3 { // each time by another connection
		out, err := r.dial().Invoke(soon(t), in)
		if err != nil || string(out.GetResult()) != "ran with args" {
			t.Errorf("time %d: %v, %v", i, out, err)
		}
	}
	r.ran(1)
	if n := r.core.Counts().Duplicates; n != 2 {
		t.Errorf("%d duplicates", n)
	}
}

func TestS3_18_WhoHasTheIdOnlyHasNothing(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	thief := &pb.Session{Id: c.session.GetId(), Secret: make([]byte, 16)}
	in := c.next("count", "")
	_, err := c.rpc.Invoke(soon(t), &pb.InvokeRequest{Session: thief, Seq: 1, Method: "count"})
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	_, err = c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: thief, Seq: 1})
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	_, err = c.rpc.Ack(soon(t), &pb.AckRequest{Session: thief, Ack: 100})
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	if _, err = c.rpc.Close(soon(t), &pb.CloseRequest{Session: thief}); err != nil { // it says what is so
		t.Error(err)
	}
	if _, err = c.rpc.Open(soon(t), &pb.OpenRequest{Former: thief}); err != nil {
		t.Error(err)
	}
	if _, err = c.rpc.Invoke(soon(t), in); err != nil {
		t.Errorf("the owner: %v", err)
	}
	r.ran(1)
}

func TestS3_18_TwoSessionsHaveNothingInCommon(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	rpc := r.dial()
	a, b := r.open(rpc), r.open(rpc)
	if string(a.session.GetId()) == string(b.session.GetId()) || string(a.session.GetSecret()) == string(b.session.GetSecret()) {
		t.Fatal("two sessions have the same name")
	}
	for _, c := range []*caller{a, b} {
		if got, err := c.call("count", "x"); got != "ran with x" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	r.ran(2)
}

func TestS3_20_WhatIsAcknowledgedIsForgotten(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	for range 10 {
		if _, err := c.call("count", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.core.Counts().Entries; n != 1 {
		t.Errorf("%d calls in the table, want the last", n)
	}
	if _, err := c.rpc.Ack(soon(t), &pb.AckRequest{Session: c.session, Ack: 10}); err != nil {
		t.Error(err)
	}
	if n := r.core.Counts().Entries; n != 0 {
		t.Errorf("%d calls in the table", n)
	}
	_, err := c.rpc.Invoke(soon(t), &pb.InvokeRequest{Session: c.session, Seq: 10, Method: "count", Args: []byte("x")})
	wants(t, err, codes.FailedPrecondition, pb.Code_CODE_CLOSED, pb.Execution_EXECUTION_INDETERMINATE)
	_, err = c.rpc.Cancel(soon(t), &pb.CancelRequest{Session: c.session, Seq: 10})
	wants(t, err, codes.FailedPrecondition, pb.Code_CODE_CLOSED, pb.Execution_EXECUTION_INDETERMINATE)
	r.ran(10)
}

// hands is a clock that the test turns.
type hands struct{ atomic.Int64 }

func (h *hands) now() time.Duration { return time.Duration(h.Load()) + 1 }

func TestS3_22_ASessionThatIsSilentForTooLongIsGone(t *testing.T) {
	var clock hands
	r := newRig(t, server.Options{Clock: clock.now}, Options{})
	c := r.open(r.dial())
	if got := c.opened.GetLease().AsDuration(); got != 5*time.Minute {
		t.Errorf("lease %v", got)
	}
	in := c.next("count", "")
	if _, err := c.rpc.Invoke(soon(t), in); err != nil {
		t.Fatal(err)
	}
	clock.Add(int64(4 * time.Minute))
	if _, err := c.rpc.Renew(soon(t), &pb.RenewRequest{Session: c.session}); err != nil {
		t.Fatal(err)
	}
	clock.Add(int64(4 * time.Minute))
	if _, err := c.rpc.Invoke(soon(t), in); err != nil {
		t.Fatalf("it was renewed: %v", err)
	}
	clock.Add(int64(6 * time.Minute))
	r.until("session is over", func() bool { return r.core.Counts().Sessions == 0 })
	_, err := c.rpc.Invoke(soon(t), in)
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	_, err = c.rpc.Renew(soon(t), &pb.RenewRequest{Session: c.session})
	wants(t, err, codes.NotFound, pb.Code_CODE_EXPIRED, pb.Execution_EXECUTION_INDETERMINATE)
	r.ran(1)
}

func TestS3_22_WhoWaitsIsNotSilent(t *testing.T) {
	start := time.Now()
	fast := func() time.Duration { return 600*time.Since(start) + 1 } // 5 min in half a second
	r := newRig(t, server.Options{Clock: fast}, Options{Lease: 200 * time.Millisecond})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("deaf", ""))
	r.entered()
	r.until("three leases are over", func() bool { return r.core.Now() > 15*time.Minute })
	r.leave <- struct{}{}
	if a := <-done; a.result != "at last" || a.err != nil {
		t.Errorf("%+v", a)
	}
}

func TestS3_23_ADuplicateWaitsForTheOriginal(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	in := c.next("slow", "")
	waiting := []<-chan answered{later(soon(t), c.rpc, in)}
	r.entered()
	waiting = append(waiting, later(soon(t), c.rpc, in), later(soon(t), r.dial(), in))
	r.until("all three wait", func() bool { return r.door.uses() == 3 })
	r.leave <- struct{}{}
	for i, done := range waiting {
		if a := <-done; a.result != "slowly" || a.err != nil {
			t.Errorf("waiter %d: %+v", i, a)
		}
	}
	r.ran(1)
}

func TestS3_23_WhoGivesUpTakesNothingFromTheOthers(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("the first goes: %v", first), func(t *testing.T) {
			r := newRig(t, server.Options{}, Options{})
			c := r.open(r.dial())
			in := c.next("slow", "")
			ctx, cancel := context.WithCancel(soon(t))
			goes, stays := ctx, soon(t)
			if !first {
				goes, stays = stays, goes
			}
			one := later(goes, c.rpc, in)
			r.entered()
			two := later(stays, r.dial(), in)
			r.until("both wait", func() bool { return r.door.uses() == 2 })
			cancel()
			r.until("one is gone", func() bool { return r.door.uses() == 1 })
			r.leave <- struct{}{}
			if !first {
				one, two = two, one
			}
			if got, _ := failureOf((<-one).err); got != codes.Canceled {
				t.Errorf("who went: %v", got)
			}
			if a := <-two; a.result != "slowly" || a.err != nil {
				t.Errorf("who stayed: %+v", a)
			}
			r.ran(1)
		})
	}
}

func TestALostReplyIsThereForTheRetry(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	cc := r.conn()
	c := r.open(pb.NewCallsClient(cc))
	in := c.next("slow", "")
	done := later(soon(t), c.rpc, in)
	r.entered()
	_ = cc.Close() // the connection is lost, the call runs
	if a := <-done; a.err == nil {
		t.Error("there was an answer")
	}
	r.until("nobody waits", func() bool { return r.door.uses() == 0 })
	r.leave <- struct{}{}
	r.until("it has ended", func() bool { return r.core.Counts().Running == 0 })
	out, err := r.dial().Invoke(soon(t), in)
	if err != nil || string(out.GetResult()) != "slowly" {
		t.Errorf("%v, %v", out, err)
	}
	r.ran(1)
}

func TestManyClientsOfBothDoorsAtOnce(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	native := r.native()
	var running sync.WaitGroup
	const each = 50
	for w := range 4 {
		running.Go(func() {
			c := r.open(r.dial())
			for i := range each {
				want := fmt.Sprintf("g%d/%d", w, i)
				if got, err := c.call("count", want); got != "ran with "+want || err != nil {
					t.Errorf("gRPC: %q, %v", got, err)
				}
			}
		})
		running.Go(func() {
			for i := range each {
				want := fmt.Sprintf("n%d/%d", w, i)
				if got := native(want); got != "ran with "+want {
					t.Errorf("native: %q", got)
				}
			}
		})
	}
	running.Wait()
	r.ran(8 * each)
	if n := r.core.Counts().Calls[session.OK][session.Executed]; n != 8*each {
		t.Errorf("%d calls", n)
	}
}
