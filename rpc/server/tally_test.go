package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// TestMethodsAreCountedApartUpToABound: whoever invents names makes no more of them.
func TestMethodsAreCountedApartUpToABound(t *testing.T) {
	local := &Local{}
	c, err := New(local, Options{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer local.Close()
	for i := range MostNamed + 10 {
		m := c.Method(fmt.Sprint("method", i))
		j := &Job{Method: m, core: c, link: &Link{via: TCP}}
		c.ended(j, session.Unimplemented, session.NotExecuted)
	}
	if all := c.Tallies(); len(all) != 1 || all[0].Ends[TCP][session.Unimplemented][session.NotExecuted] != MostNamed+10 {
		t.Fatalf("methods that nobody has: %d tallies, %v", len(all), all[0].Ends[TCP])
	}
	for i := range MostNamed + 10 {
		j := &Job{Method: c.Method(fmt.Sprint("method", i)), core: c, link: &Link{via: GRPC}}
		c.timed(time.Second, j)
		c.ended(j, session.OK, session.Executed)
	}
	all := c.Tallies()
	if len(all) != MostNamed+1 || all[0].Method != "method0" || all[0].Ends[GRPC][session.OK][session.Executed] != 1 {
		t.Errorf("%d tallies, the first of %q", len(all), all[0].Method)
	}
	if o := all[MostNamed]; o.Method != "" || o.Ends[GRPC][session.OK][session.Executed] != 10 {
		t.Errorf("the rest is of %q: %v", o.Method, o.Ends[GRPC])
	}
}

// TestTimesOfRunsHaveExamples: how long calls have waited and run, with the identity of one of each.
func TestTimesOfRunsHaveExamples(t *testing.T) {
	now := time.Second
	c, err := New(&Local{}, Options{Clock: func() time.Duration { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Register(Method{Name: "measure"}); err != nil {
		t.Fatal(err)
	}
	id := session.XID{Session: session.ID{1}, Seq: 7}
	c.timed(now, &Job{Method: c.Method("measure"), core: c, xid: id, arrived: now - 50*time.Millisecond, started: now - 20*time.Millisecond})
	told := c.Tallies()[0]
	if told.Waited.Sum != 30*time.Millisecond || told.Took.Sum != 20*time.Millisecond {
		t.Errorf("waited %v, took %v", told.Waited.Sum, told.Took.Sum)
	}
	for i, n := range told.Took.Counts {
		if e := told.Took.Last[i]; n == 1 != (e.XID == id && e.Took == 20*time.Millisecond && time.Since(e.At).Abs() < time.Minute) {
			t.Errorf("bucket %d counts %d, its example is %+v", i, n, e)
		}
	}
}

// TestThePageShowsWhatWaitsToo: also calls within the process that wait for their turn.
func TestThePageShowsWhatWaitsToo(t *testing.T) {
	local := &Local{}
	c, err := New(local, Options{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer local.Close()
	if err := c.Register(Method{Name: "measure"}); err != nil {
		t.Fatal(err)
	}
	release, err := c.Acquire(t.Context(), c.Method("measure"), frame.PriorityNormal)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	gaveUp := make(chan error)
	go func() {
		_, err := c.Acquire(ctx, c.Method("measure"), frame.PriorityNormal)
		gaveUp <- err
	}()
	for c.Counts().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	open := func() (all []Open) {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/debug/rpc", nil)
		r.Header.Set("Accept", "application/json")
		Page(func(show func(string, *Core)) { show("one", c) }).ServeHTTP(w, r)
		if err := json.NewDecoder(w.Body).Decode(&all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := open()
	if len(all) != 2 || all[0].State != "running" || all[1].State != "queued" || all[1].Left <= 0 || all[1].Server != "one" || all[1].Via != "direct" {
		t.Errorf("open are %+v", all)
	}
	cancel()
	if err := <-gaveUp; err == nil {
		t.Error("two run at once")
	}
	release(session.OK, session.Executed)
	if all := open(); len(all) != 0 {
		t.Errorf("open are %+v", all)
	}
	w := httptest.NewRecorder()
	Page(func(show func(string, *Core)) { show("one", c); show("two", c) }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/rpc", nil))
	if p := w.Body.String(); strings.Count(p, "0 calls run, 0 wait") != 2 || !strings.Contains(p, "server two\n") {
		t.Errorf("the page of two servers is\n%s", p)
	}
	told := c.Tallies()[0].Ends[Direct]
	if told[session.OK][session.Executed] != 1 || told[session.Canceled][session.NotExecuted] != 1 {
		t.Errorf("ends are %v", told)
	}
}
