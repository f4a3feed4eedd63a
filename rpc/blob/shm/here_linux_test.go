package shm

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// TestAPeerInTheProcessOfItsHost has a caller's connection, and handles calls without one.
func TestAPeerInTheProcessOfItsHost(t *testing.T) {
	h := newHost(t, Options{Idle: time.Millisecond})
	caller := connect(t, h, "caller")
	callee, err := h.Connect("callee")
	if err != nil {
		t.Fatal(err)
	}
	h.OnResult(func(blob.PartyID, blob.Call, uint64) (blob.Handle, error) { return caller.Account(), nil })
	for seq := range uint64(3) {
		call := blob.Call{Seq: seq + 1}
		b, err := caller.Allocate(10_000, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		fillWith(b.Bytes(), byte(seq))
		in, err := b.Share(0, 10_000, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: in, Mode: blob.In}})
		if err != nil {
			t.Fatal(err)
		}
		arg, err := callee.Argument(call, args[0])
		if err != nil {
			t.Fatal(err)
		}
		made, room, err := callee.Result(call, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		copy(room.Bytes()[copy(room.Bytes(), arg.Bytes()):], arg.Bytes())
		if err := errors.Join(arg.Close(), room.Close()); err != nil || made.Mode != blob.Out {
			t.Fatal(made, err)
		}
		e, err := h.End(call, blob.Succeeded, []blob.Handle{made.Handle})
		if err != nil {
			t.Fatal(err)
		}
		result, err := caller.Adopt(blob.Arg{Handle: e.Results[0], Segment: e.Places[0].Segment, Offset: e.Places[0].Offset})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(result.Bytes(), bytes.Repeat([]byte{byte(seq)}, 20_000)) {
			t.Errorf("call %d: what the callee has made is not what it was given, twice", seq)
		}
		if err := errors.Join(b.LetGo(), result.LetGo()); err != nil {
			t.Error(err)
		}
		within(t, time.Second, "at rest", atRest(h)) // and the next call has other segments
	}
	if _, err := callee.Open(blob.Handle{}, blob.In, 0); !errors.Is(err, blob.ErrDomain) {
		t.Errorf("a handle of nothing: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	_, err = callee.Allocate(1, blob.Read)
	wantErr(t, "allocate when the host is closed", err, ErrHost)
	if err := errors.Join(callee.Close(), callee.Close()); err != nil {
		t.Error(err)
	}
}

// TestAPlaceThatAServerMakesUp is out of its segment, or of one that is not there: nothing is mapped, and
// nothing breaks.
func TestAPlaceThatAServerMakesUp(t *testing.T) {
	h := newHost(t, Options{})
	caller := connect(t, h, "caller")
	b, err := caller.Allocate(100, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	segment := b.hold.id.segment
	for name, a := range map[string]blob.Arg{
		"beyond its end":           {Handle: b.Handle(), Segment: segment, Offset: 1 << 40},
		"so that its end wraps":    {Handle: b.Handle(), Segment: segment, Offset: ^uint64(0) - 10},
		"of nobody, in no segment": {Handle: caller.Account(), Segment: 77, Offset: 1 << 40},
	} {
		if _, err := caller.Adopt(a); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	same, err := caller.Adopt(blob.Arg{Handle: b.Handle(), Segment: 77, Offset: 5}) // it is asked for
	if err != nil || &same.Bytes()[0] != &b.Bytes()[0] {
		t.Errorf("one in a segment that is not known: %v", err)
	}
}
