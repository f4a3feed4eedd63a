package tracker

import (
	"slices"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
)

// listener collects what Changed is called with.
type listener struct {
	mu   sync.Mutex
	keys []string
}

func (l *listener) changed(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, key)
}

// take returns the keys of which it was told since the last call, once each.
func (l *listener) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.keys)
	keys := slices.Compact(l.keys)
	l.keys = nil
	return keys
}

func TestChangesAreToldByKey(t *testing.T) {
	l := &listener{}
	h := startFake(t, Options{Changed: l.changed})
	var server, client *wire
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a server registers", func() { server = h.ours("uid-1", "starting", "") }},
		{"it offers", func() { putOne(server, "k", "k:1") }},
		{"it is held", func() { h.Hold("pool", []string{"uid-1"}) }},
		{"a request waits", func() { client = h.join(); client.send(`[4, "k", "", 1]`) }},
		{"it is served", func() { h.Hold("pool", nil); client.wantGrant("k:1") }},
		{"its session begins", func() { server.ask(`[5, {"state": "busy", "session": {"id": "s", "client": "c"}}]`, "0") }},
		{"a request waits again", func() { client.send(`[4, "k", "", 1]`) }},
		{"its client leaves", func() { client.close() }},
		{"the server leaves", func() { server.close() }},
	} {
		l.take()
		step.do()
		eventually(t, step.what, func() bool { return slices.Contains(l.take(), "k") }, true)
	}
}

func TestNobodyWaitsForWhoIsTold(t *testing.T) {
	told, release := make(chan string), make(chan struct{})
	h := start(t, Options{Changed: func(key string) {
		select {
		case told <- key:
		case <-release:
		}
	}})
	defer close(release)
	h.register("k", "k:1")
	if key := <-told; key != "k" {
		t.Errorf("told %q", key)
	}
	h.register("other", "other:1")
	<-told // Changed is called again when this call returns, and does not return
	h.take("k:1")
	h.wantQueue("other", 1, 0)
}

// settling is a tracker whose settling the test ends.
func settling(t *testing.T, l *listener) (h *harness, settle func()) {
	t.Helper()
	nl, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	s := NewServer(Options{Settle: time.Hour, Changed: l.changed})
	s.wait = func(d time.Duration, stop <-chan struct{}) bool {
		if d != time.Hour {
			t.Errorf("settles for %v", d)
		}
		select {
		case <-over:
			return true
		case <-stop:
			return false
		}
	}
	return serveIt(t, s, nl, nl.Addr().String()), sync.OnceFunc(func() { close(over) })
}

func TestNothingIsGrantedWhileTheTrackerSettles(t *testing.T) {
	l := &listener{}
	h, settle := settling(t, l)
	if h.Settled() {
		t.Fatal("settled at once")
	}
	early := h.join()
	early.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	server := h.ours("uid-1", "free", "k:1")
	h.ours("uid-2", "free", "k:2")
	h.Hold("pool", []string{"uid-2"})
	h.ours("uid-3", "busy", "")
	late := h.join()
	late.send(`[4, "k", "", 2]`) // comes back later, and its priority is higher
	h.wantQueue("k", 1, 2)
	server.ask(`[7]`, `["k:1"]`)
	h.wantStatus("uid-1 free false", "uid-2 draining true", "uid-3 busy false")
	quiet := h.join()
	quiet.send(`[4, "q", "", 1]`)
	h.wantQueue("q", 0, 1)
	eventually(t, "earlier news", func() bool { return slices.Contains(l.take(), "q") }, true)
	settle()
	late.wantGrant("k:1")
	if !h.Settled() {
		t.Error("grants, and has not settled")
	}
	h.wantQueue("k", 0, 1)
	var told []string
	eventually(t, "told that it has settled", func() bool {
		told = append(told, l.take()...)
		return slices.Contains(told, "k") && slices.Contains(told, "q") && slices.Contains(told, "")
	}, true)
	h.Hold("pool", nil)
	early.wantGrant("k:2")
}

func TestATrackerMayStopWhileItSettles(t *testing.T) {
	h, _ := settling(t, &listener{})
	h.join().wantOpen()
	h.stop()
	if h.err != nil || h.Settled() {
		t.Errorf("error %v, settled %v", h.err, h.Settled())
	}
}

func TestATrackerThatDoesNotSettleIsSettled(t *testing.T) {
	if !NewServer(Options{}).Settled() {
		t.Error("not settled")
	}
}
