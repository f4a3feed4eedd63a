package workers_test

import (
	"strings"
	"testing"

	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

func TestACallRunsInAWorker(t *testing.T) {
	r := newRig(t, setting{workers: workers.Options{Concurrency: 4}})
	for _, size := range []int{0, 1, 64, 129, 4 << 10, 9 << 10, 300 << 10, 5 << 20} {
		args := strings.Repeat("x", size)
		for _, method := range []string{"echo", "echo!"} {
			if u := r.call(method, args); u.Outcome.Code != session.OK || string(u.Reply) != args {
				t.Fatalf("%s of %d bytes: %+v, %d bytes: %s", method, size, u.Outcome, len(u.Reply), u.Text)
			}
		}
	}
	if u := r.call("no", ""); u.Outcome.Code != session.Failed || u.Outcome.Execution != session.Executed || u.Text != "no" || string(u.Detail) != "detail" {
		t.Errorf("%+v", u)
	}
	if u := r.call("never", ""); u.Outcome.Code != session.Invalid || u.Outcome.Execution != session.NotExecuted || u.Text != "not so" {
		t.Errorf("%+v", u)
	}
	if u := r.call("none", ""); u.Outcome.Code != session.Unimplemented || u.Outcome.Execution != session.NotExecuted {
		t.Errorf("%+v", u)
	}
	if u := r.call("xid", ""); string(u.Reply) == "" {
		t.Errorf("%q, want %v", u.Reply, u.XID)
	}
}
