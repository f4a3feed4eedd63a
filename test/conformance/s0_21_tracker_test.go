//go:build linux

package conformance

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestS0_21_TicketPerOffer(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	seen := map[string]bool{}
	for range 8 {
		_, ticket := tr.ticket()
		random, ok := strings.CutPrefix(ticket, key+":")
		if !ok || len(random) < 26 || seen[ticket] { // 26 characters of base32 hold 128 bits
			t.Errorf("ticket %q: want %s: and 128 random bits, new each time", ticket, key)
		}
		for old := range seen {
			if a := dialRaw(t, s.addr).shake("client:" + old); a.Code != tvm.HandshakeMismatch {
				t.Errorf("an old ticket is answered %#x", a.Code)
			}
		}
		seen[ticket] = true
		r := dialRaw(t, s.addr)
		r.session("client:" + ticket)
		r.bye()
		s.log.nextEnd(t)
	}
}

func TestS0_21_UnusedTicketReturns(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	_, lost := tr.ticket() // granted, and never used
	began := time.Now()
	_, fresh := tr.ticket()
	took := time.Since(began)
	t.Logf("a ticket that nobody used came back after %v", took)
	if took < 6*time.Second || took > 9*time.Second+slack {
		t.Errorf("offered again after %v, want 4 polls of 2s", took)
	}
	if a := dialRaw(t, s.addr).shake("client:" + lost); a.Code != tvm.HandshakeMismatch {
		t.Errorf("the lost ticket is answered %#x, want MISMATCH", a.Code)
	}
	r := dialRaw(t, s.addr)
	r.session("client:" + fresh)
	r.bye()
}

func TestS0_22_ServerReportsItself(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.Advertise = "localhost" })
	check := func(state string) {
		t.Helper()
		var info tvm.ServerInfo
		eventually(t, patience, "registered as "+state, func() bool {
			servers := tr.Summary().Servers
			if len(servers) == 1 {
				info = servers[0]
			}
			return info.State() == state
		})
		host, port := info.Addr()
		if info.Key() != "server:"+key || host != "localhost" || !strings.HasSuffix(s.addr, ":"+port) {
			t.Errorf("registered as %s at %s:%s, want server:%s at localhost and the port of %s", info.Key(), host, port, key, s.addr)
		}
		if free := tr.Summary().Queue[key].Free; (free == 1) != (state == "free") {
			t.Errorf("%d offers of a server that is %s", free, state)
		}
	}
	check("free")
	session := tr.open(client.Options{})
	check("busy")
	if about := string(tr.Summary().Servers[0].Info["session"]); !strings.Contains(about, session.NetConn().LocalAddr().String()) {
		t.Errorf("session is shown as %s, want its client", about)
	}
	closeOf(t, session)
	check("free")

	tr.stop()
	tr.start()
	began := time.Now()
	check("free")
	t.Logf("registered with the new tracker after %v", time.Since(began))
	if took := time.Since(began); took > 2*time.Second+5*time.Second+slack {
		t.Errorf("registered with the new tracker after %v, want 2s and the backoff", took)
	}
	tr.works()
}

func TestS0_23_GrantedMeansOpen(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	granted := make(chan error, 1)
	go func() { // asks before there is a server, and connects at once
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s, err := client.Request(ctx, tr.addr, key, client.Options{MaxRetry: 1})
		if err == nil {
			_, err = s.Call(ctx, "test.addone", 1)
			_ = s.Close()
		}
		granted <- err
	}()
	eventually(t, patience, "the request waits", func() bool { return tr.Summary().Queue[key].Pending == 1 })
	s := startServer(t, tr)
	if err := <-granted; err != nil {
		t.Fatalf("the first client, at its first try: %v", err)
	}
	for range 10 {
		session := tr.open(client.Options{MaxRetry: 1})
		closeOf(t, session)
	}
	if refused := s.metric("rpcpool_handshakes_total", "mismatch"); refused > 0 {
		t.Errorf("%v clients that had a grant were refused", refused)
	}
}

func TestS0_24_ManyRequestersFewDevices(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	holder := tr.open(client.Options{})

	served := make(chan string, 4)
	var group sync.WaitGroup
	waiting := func() int { return tr.Summary().Queue[key].Pending }
	ask := func(name string, priority float64) (giveUp func()) {
		ctx, cancel := context.WithCancel(t.Context())
		before := waiting()
		group.Go(func() {
			defer cancel()
			if session, err := client.Request(ctx, tr.addr, key, client.Options{Priority: priority}); err == nil {
				served <- name
				_ = session.Close()
			}
		})
		eventually(t, patience, name+" waits", func() bool { return waiting() == before+1 })
		return cancel
	}
	ask("first", 1)
	ask("important", 5)
	ask("second", 1)
	giveUp := ask("dies while it waits", 9)
	giveUp()
	eventually(t, patience, "the dead one is forgotten", func() bool { return waiting() == 3 })
	closeOf(t, holder)
	group.Wait()
	close(served)
	var order []string
	for name := range served {
		order = append(order, name)
	}
	if got, want := strings.Join(order, ", "), "important, first, second"; got != want {
		t.Errorf("served %s, want %s", got, want)
	}
	s.waitState("free")
}

func TestS0_24_DeviceDiesWhileAssigned(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	doomed := startServer(t, tr).ready()
	session := tr.open(client.Options{})
	pid := doomed.agentPID()
	waiting := make(chan error, 1)
	go func() {
		s, err := client.Request(t.Context(), tr.addr, key, client.Options{})
		if err == nil {
			_ = s.Close()
		}
		waiting <- err
	}()
	eventually(t, patience, "the second client waits", func() bool { return tr.Summary().Queue[key].Pending == 1 })
	called := hang(t, session)
	if err := killProcess(pid); err != nil { // the device container, with all of its processes
		t.Fatal(err)
	}
	if err := <-called; err == nil {
		t.Error("the call came back from the dead")
	} else {
		t.Logf("client is told: %v", err)
	}
	if e := doomed.log.nextEnd(t); e.cause != "crash-signal" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	if err := <-waiting; err != nil { // the device came back, and went to the next in the queue
		t.Errorf("second client: %v", err)
	}
}
