package client

import (
	"testing"

	"rpcpool.dev/rpc/session"
)

// ok takes answers until there is a result.
func (r *raw) ok(t *testing.T) string {
	t.Helper()
	for m := range r.got {
		if m.Kind == session.Reply {
			if m.Code != session.OK {
				t.Fatalf("%+v", m)
			}
			return string(m.Body)
		}
	}
	return ""
}

func TestC20_ACallThatNeedsAnotherIsSentAgain(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	r := h.open(1, false)
	first := session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")}
	second := session.Message{Kind: session.Call, Seq: 2, Method: 1, Needs: &session.Needs{Calls: []uint64{1}}}
	r.say(&second) // overtakes it
	r.say(&first)
	if got := []string{r.ok(t), r.ok(t)}; got[0] != "did x" || got[1] != "did did x" {
		t.Fatalf("%q", got)
	}
	again := h.open(1, true)
	again.say(&first)
	again.say(&second)
	if got := []string{again.ok(t), again.ok(t)}; got[0] != "did x" || got[1] != "did did x" {
		t.Errorf("by another connection: %q", got)
	}
	if n := h.core.Counts().Calls[session.OK][session.Executed]; n != 2 {
		t.Errorf("%d runs", n)
	}
	third := session.Message{Kind: session.Call, Seq: 3, Method: 1, Needs: &session.Needs{Calls: []uint64{1}}}
	again.say(&third)
	if got := again.ok(t); got != "did did x" {
		t.Errorf("%q", got)
	}
	third.Needs = &session.Needs{Calls: []uint64{2}}
	again.say(&third)
	<-again.conn.Done() // the same number for another call
}

func TestAResultThatIsClosedIsNotGivenToOthers(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	r := h.open(1, false)
	r.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")})
	_ = r.ok(t)
	r.say(&session.Message{Kind: session.Call, Seq: 2, Ack: 1, Method: 1, Needs: &session.Needs{Calls: []uint64{1}}})
	for m := range r.got {
		if m.Kind == session.Reply {
			if m.Code != session.Unmet || m.Execution != session.NotExecuted {
				t.Errorf("%+v", m)
			}
			return
		}
	}
}
