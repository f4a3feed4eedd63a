package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestThePageShowsWhatRuns(t *testing.T) {
	local := &Local{}
	c, err := New(local, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer local.Close()
	if err := c.Register(Method{Name: "measure", Run: func(*Job) (session.Code, []byte) { return session.OK, nil }}); err != nil {
		t.Fatal(err)
	}
	release, err := c.Acquire(context.Background(), c.Method("measure"), frame.PriorityNormal)
	if err != nil {
		t.Fatal(err)
	}
	page := func() string {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/rpc", nil))
		return w.Body.String()
	}
	if p := page(); !strings.Contains(p, "1 calls run, 0 wait") || !strings.Contains(p, "measure") {
		t.Errorf("page is\n%s", p)
	}
	release(session.OK, session.Executed)
	if p := page(); !strings.Contains(p, "0 calls run") || strings.Contains(p, "measure") {
		t.Errorf("page is\n%s", p)
	}
}

func TestAnExclusiveMethodRunsOnceAtATime(t *testing.T) {
	local := &Local{}
	c, err := New(local, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer local.Close()
	if err := c.Register(Method{Name: "device", Concurrency: 1, Run: func(*Job) (session.Code, []byte) { return session.OK, nil }}); err != nil {
		t.Fatal(err)
	}
	first, err := c.Acquire(context.Background(), c.Method("device"), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Acquire(ctx, c.Method("device"), 0); err == nil {
		t.Fatal("two run at once")
	}
	second := make(chan func(session.Code, session.Execution))
	go func() {
		release, err := c.Acquire(context.Background(), c.Method("device"), 0)
		if err != nil {
			t.Error(err)
		}
		second <- release
	}()
	first(session.OK, session.Executed)
	(<-second)(session.OK, session.Executed)
	drained, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := c.Drain(drained); err != nil {
		t.Error(err)
	}
	if _, err := c.Acquire(context.Background(), c.Method("device"), 0); err == nil {
		t.Error("a server that drains takes a call")
	}
}

func TestRecordsAreWhatWasWritten(t *testing.T) {
	for _, r := range []session.Record{
		{Kind: session.RecordOpen, Session: session.ID{1}, Secret: session.ID{2}},
		{Kind: session.RecordStart, Session: session.ID{1}, Seq: 7, Method: 9, Sum: 11, Idempotent: true},
		{Kind: session.RecordEnd, Session: session.ID{1}, Seq: 7, Method: 9, Sum: 11, Outcome: session.Outcome{Code: session.Failed, Execution: session.Executed, Reply: []byte("no")}},
		{Kind: session.RecordClose, Session: session.ID{1}},
	} {
		b := append(appendRecord(nil, &r), r.Outcome.Reply...)
		got, err := parseRecord(b)
		if err != nil || got.Kind != r.Kind || got.Seq != r.Seq || got.Secret != r.Secret || got.Idempotent != r.Idempotent ||
			got.Outcome.Code != r.Outcome.Code || string(got.Outcome.Reply) != string(r.Outcome.Reply) {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
		for n := range recordHead {
			if _, err := parseRecord(b[:n]); err == nil {
				t.Errorf("%d bytes of %+v are taken for a record", n, r)
			}
		}
	}
}

func TestBadMethodsAreRefused(t *testing.T) {
	s := methods{byNumber: map[uint32]*Method{}}
	for name, m := range map[string]Method{
		"no name": {}, "not UTF-8": {Name: "\xff"}, "negative": {Name: "a", Concurrency: -1},
	} {
		if err := s.add(m); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := s.add(Method{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.add(Method{Name: "a"}); err == nil {
		t.Error("a name is there twice")
	}
	if s.named("b") != nil {
		t.Error("a method that is not there was found")
	}
}
