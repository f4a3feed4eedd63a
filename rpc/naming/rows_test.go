package naming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

func TestS1_5_ANodeWaitsForARegistryThatIsNotThere(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	s.stop()
	var log bytes.Buffer
	n, err := Start(s.client(), NodeOptions{ID: "a", Registrar: eager, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := n.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `node "a" is registering after`) {
		t.Errorf("it is told %v", err)
	}
	if c := n.Condition(); c.Failures < 1 || c.Failures > 50 || c.Cause == nil {
		t.Errorf("after half a second: %+v", c)
	}
	s.opts.Registry.Term++
	s.start()
	if c, err := n.Ready(soon(t)); err != nil || c.Rank != 0 || c.Epoch == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	_ = n.Close()
	if said := strings.Count(log.String(), "level=WARN msg=\"node is registering\""); said != 1 {
		t.Errorf("it was said %d times that there is no registry:\n%s", said, log.String())
	}
	if strings.Contains(log.String(), "err=<nil>") {
		t.Errorf("an error is said that is none:\n%s", log.String())
	}
}

func TestS1_13_JoinReturnsWhenTheRegistryHasAccepted(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	for rank := range uint32(3) {
		m := s.join(fmt.Sprint("node-", rank))
		c := m.claim(t)
		all := s.host.Instances()
		if c.Rank != rank || len(all) != int(rank)+1 || all[rank].Epoch != c.Epoch {
			t.Errorf("node %d has %+v, the registry %+v", rank, c, all)
		}
		if state, err := State(soon(t), s.client(), c.Epoch); state != registry.StateAlive || err != nil {
			t.Errorf("state %v, %v", state, err)
		}
	}
}

func TestS1_14_ARegistrationMayComeTwice(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	ctx, c := soon(t), s.client()
	m := registry.Registration{ID: "a", Revision: 1, Secret: registry.Secret{1}, Services: []registry.Service{{Name: "echo"}}}
	register := func() (*registry.Ack, error) {
		return ask[registry.Registration, registry.Ack](ctx, c, methodRegister, &m)
	}
	first, err := register()
	if err != nil {
		t.Fatal(err)
	}
	again, err := register()
	if err != nil || again.Epoch != first.Epoch || again.Rank != first.Rank || again.Services[0] != first.Services[0] {
		t.Errorf("%+v, then %+v, %v", first, again, err)
	}
	if n := len(s.host.Instances()); n != 1 {
		t.Errorf("%d nodes", n)
	}
	m.Secret = registry.Secret{2}
	_, err = register()
	no := (*registry.Refusal)(nil)
	if !errors.As(err, &no) || no.Code != registry.Twin || no.Retry <= 0 || no.Text == "" {
		t.Errorf("a twin is told %v", err)
	}
	_, err = rpc.Call[[]byte](ctx, c, methodRegister, []byte("nonsense"))
	if !errors.Is(err, rpc.Reason("malformed")) || !errors.Is(refusalOf(err), registry.Malformed) {
		t.Errorf("nonsense is told %v", err)
	}
}

func TestS1_15_AllAreToldOfWhatChanges(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	var all []*Follower
	for range 3 {
		all = append(all, s.follow())
	}
	both := func(what string, is func(v *registry.View) bool) {
		t.Helper()
		for _, f := range all {
			until(t, f.View(), what, func() bool { return is(f.View()) })
		}
	}
	has := func(service string, n int) func(*registry.View) bool {
		return func(v *registry.View) bool { return len(v.Service(service)) == n }
	}
	a := s.join("a", registry.Service{Name: "echo"})
	b := s.join("b", registry.Service{Name: "echo"}, registry.Service{Name: "sum", ID: 5})
	both("two have joined", has("echo", 2))
	if err := a.Update(registry.Endpoints{TCP: "127.0.0.1:1"}, []registry.Service{{Name: "sum", ID: 6}}); err != nil {
		t.Fatal(err)
	}
	both("one does something else, and elsewhere", func(v *registry.View) bool {
		s, err := v.Server("sum", 6)
		return has("echo", 1)(v) && has("sum", 2)(v) && err == nil && s.Node.Endpoints.TCP == "127.0.0.1:1"
	})
	if err := a.Update(registry.Endpoints{}, []registry.Service{{Name: "sum", ID: 5}}); err != nil {
		t.Fatal(err)
	}
	for ctx := soon(t); !errors.Is(a.Condition().Refusal, registry.Duplicate); { // S1.36
		if !sleep.For(5*time.Millisecond, ctx.Done()) {
			t.Fatalf("the id of another: %+v", a.Condition())
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	both("one has left", func(v *registry.View) bool { return len(v.Nodes()) == 1 && has("echo", 0)(v) })
	for _, f := range all[1:] {
		if f.View().Digest() != all[0].View().Digest() {
			t.Error("views differ once all is quiet")
		}
	}
}

func TestS1_12_CallsAreAddressedByServiceServerAndRank(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	f := s.follow()
	c := users(t, f, "echo")
	s.join("a", registry.Service{Name: "echo", ID: 11})
	last := s.join("b", registry.Service{Name: "echo", ID: 12}, registry.Service{Name: "echo", ID: 13})
	ctx := soon(t)
	if err := c.Ready(ctx, 2); err != nil {
		t.Fatal(err)
	}
	who := func(to rpc.CallOption, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got, err := rpc.Call[string](ctx, c, "Who", 0, to)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for range 10 {
		if got := [...]string{who(f.Server("echo", 11)), who(f.Server("echo", 12)), who(f.Server("echo", 13)), who(f.Rank(0)), who(f.Rank(1))}; got != [...]string{"a", "b", "b", "a", "b"} {
			t.Errorf("reached %v", got)
		}
	}
	if got := who(rpc.Idempotent, nil); got != "a" && got != "b" {
		t.Errorf("by service: %q", got)
	}
	if _, err := f.Rank(2); !errors.Is(err, registry.ErrNoServer) {
		t.Errorf("a rank that nobody has: %v", err)
	}
	if _, err := f.Server("echo", 14); !errors.Is(err, registry.ErrNoServer) {
		t.Errorf("a server that is not there: %v", err)
	}
	to, err := f.Rank(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, f.View(), "one has left", func() bool { return len(f.View().Nodes()) == 1 })
	s.join("c", registry.Service{Name: "echo"})
	until(t, f.View(), "another has its rank", func() bool { return len(f.View().Nodes()) == 2 })
	if _, err := rpc.Call[string](ctx, c, "Who", 0, to); !errors.Is(err, rpc.NoServer) || !errors.Is(err, rpc.NotExecuted) {
		t.Errorf("the rank's owner of before: %v", err)
	}
}

func TestS1_7_FiveHundredServersAreKnownAndNoneIsConnected(t *testing.T) {
	const n = 500
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	s.host.do(func(now time.Duration) {
		for i := range n {
			id := fmt.Sprintf("node-%03d", i)
			_, err := s.host.reg.Register(now, &registry.Registration{
				ID: id, Revision: 1, Services: []registry.Service{{Name: "echo"}},
				Endpoints: registry.Endpoints{TCP: id + ":9190", Unix: "/run/" + id, Boot: "boot-" + id, RDMA: "gid-" + id},
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	f := s.follow()
	until(t, f.View(), "all are known", func() bool { return len(f.View().Nodes()) == n })
	heap := func() int {
		runtime.GC()
		runtime.GC() // what pools keep goes at the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse)
	}
	before := heap()
	goroutines := runtime.NumGoroutine()
	c := users(t, f, "echo")
	if err := c.Ready(soon(t), n); err != nil {
		t.Fatal(err)
	}
	each := (heap() - before) / n
	if got := c.Counts(); got.Servers != n || got.Conns != 0 {
		t.Errorf("%+v", got)
	}
	t.Logf("%d bytes for each server, %d goroutines for all", each, runtime.NumGoroutine()-goroutines)
	if each >= 4<<10 || runtime.NumGoroutine()-goroutines > n/10 {
		t.Errorf("%d bytes each, %d goroutines", each, runtime.NumGoroutine()-goroutines)
	}
	last, err := f.View().Rank(n - 1)
	if err != nil || last.ID != "node-499" || last.Endpoints.RDMA != "gid-node-499" || len(last.Services) != 1 || last.Services[0].ID == 0 {
		t.Errorf("%+v, %v", last, err)
	}
	if delta, _, _, err := s.host.since(f.View().Version() - 1); err != nil || len(delta) == 0 || len(delta) > 1<<10 {
		t.Errorf("one change is %d bytes, %v", len(delta), err)
	}
}

func TestS1_37_AClientWaitsForNServers(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	c := users(t, s.follow(), "echo")
	if err := c.Ready(t.Context(), 0); err != nil {
		t.Error(err)
	}
	s.join("a", registry.Service{Name: "echo"})
	s.join("b", registry.Service{Name: "echo"})
	if err := c.Ready(soon(t), 2); err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Ready(brief, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two of three: %v", err)
	}
	three := make(chan error, 1)
	go func() { three <- c.Ready(soon(t), 3) }()
	s.join("c", registry.Service{Name: "echo"})
	if err := <-three; err != nil {
		t.Error(err)
	}
}

func TestS2_8_CallsGoOnWhileTheRegistryIsReplaced(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: long}})
	f := s.follow()
	c := users(t, f, "echo")
	a, b := s.join("a", registry.Service{Name: "echo"}), s.join("b", registry.Service{Name: "echo"})
	ids := fmt.Sprint(a.Services(), b.Services())
	before := [...]registry.Claim{a.claim(t), b.claim(t)}
	ctx := soon(t)
	if err := c.Ready(ctx, 2); err != nil {
		t.Fatal(err)
	}
	calls := 0
	call := func() {
		t.Helper()
		calls++
		if _, err := rpc.Call[string](ctx, c, "Who", 0); err != nil {
			t.Fatalf("call %d: %v", calls, err)
		}
	}
	call()
	s.stop()
	for a.Condition().Phase != registry.Losing || b.Condition().Phase != registry.Losing {
		call()
	}
	if n := len(f.View().Nodes()); n != 2 {
		t.Errorf("without a registry, %d nodes are known", n)
	}
	s.next()
	for len(s.host.Instances()) < 2 {
		call()
	}
	for a.Condition().Phase != registry.Registered || b.Condition().Phase != registry.Registered {
		call()
	}
	if now := [...]registry.Claim{a.claim(t), b.claim(t)}; now != before {
		t.Errorf("nodes have %v, and had %v", now, before)
	}
	if now := fmt.Sprint(a.Services(), b.Services()); now != ids {
		t.Errorf("servers are %v, and were %v", now, ids)
	}
	until(t, f.View(), "the new registry is followed", func() bool {
		return f.View().Digest() != registry.Digest{} && f.View().Version()>>32 == uint64(s.opts.Registry.Term)
	})
	call()
	t.Logf("%d calls", calls)
	if len(a.fenced)+len(b.fenced) > 0 {
		t.Error("a node was fenced")
	}
}

func TestANodeThatLosesTheRegistryEndsItsWorkersAndComesBackAsAnother(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: short}})
	m := s.join("a")
	was := m.claim(t)
	s.stop()
	await(t, "the workers are ended", m.fenced)
	s.next()
	if now := m.claim(t); now.Epoch <= was.Epoch {
		t.Errorf("epoch %#x, and before %#x", now.Epoch, was.Epoch)
	}
	if state, err := State(soon(t), s.client(), was.Epoch); state != registry.StateFenced || err != nil {
		t.Errorf("the old epoch is %v, %v", state, err)
	}
}

func TestS3_29_WhatIsOpenAtAFencedNodeEndsOrGoesToAnother(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: short}})
	f := s.follow()
	c := users(t, f, "echo")
	dead := s.join("dead", registry.Service{Name: "echo"})
	defer close(dead.hang)
	ctx := soon(t)
	if err := c.Ready(ctx, 1); err != nil {
		t.Fatal(err)
	}
	once := rpc.Spawn[string](ctx, c, "Hang", true)
	more := rpc.Spawn[string](ctx, c, "Hang", true, rpc.Idempotent)
	await(t, "both run there", dead.hangs)
	await(t, "both run there", dead.hangs)
	heir := s.join("heir", registry.Service{Name: "echo"})
	close(heir.hang)
	dead.die()
	await(t, "its workers are ended", dead.fenced)
	_, err := once.Get(ctx)
	if e := (*rpc.Error)(nil); !errors.As(err, &e) || !e.Fenced || e.Execution == rpc.NotExecuted {
		t.Errorf("a call that may run once: %v", err)
	}
	if who, err := more.Get(ctx); who != "heir" || err != nil {
		t.Errorf("a call that may run again: %q, %v", who, err)
	}
}

// TestALastingNodeGoesOnWithoutTheRegistry: what runs there is not ended, nobody is told
// that it has, and clients are never without it: the next registry settles until it has
// come back as what it was.
func TestALastingNodeGoesOnWithoutTheRegistry(t *testing.T) {
	s := serve(t, Options{Registry: registry.Options{Lease: short}})
	f := s.follow()
	c := users(t, f, "echo")
	n := s.joinAs(NodeOptions{ID: "lasting", Services: []registry.Service{{Name: "echo"}}, Lasting: true})
	ctx := soon(t)
	if err := c.Ready(ctx, 1); err != nil {
		t.Fatal(err)
	}
	was := n.claim(t)
	once := rpc.Spawn[string](ctx, c, "Hang", true)
	await(t, "it runs", n.hangs)
	s.stop()
	for n.Condition().Claim.Epoch != 0 {
		sleep.For(time.Millisecond, ctx.Done())
	}
	s.next()
	until(t, f.View(), "the next registry has settled", func() bool {
		if len(f.View().Nodes()) != 1 {
			t.Fatal("clients have no server")
		}
		return f.View().Version()>>32 == uint64(s.opts.Registry.Term) && !s.host.Counts().Settling
	})
	if is := n.claim(t); is != was {
		t.Errorf("it is %v, and was %v", is, was)
	}
	close(n.hang)
	if who, err := once.Get(ctx); who != "lasting" || err != nil {
		t.Errorf("the call that ran: %q, %v", who, err)
	}
	select {
	case <-n.fenced:
		t.Error("its workers were ended")
	default:
	}
}

func TestAWatcherGetsManyChangesAtOnceAndOnlyWhatIsNew(t *testing.T) {
	const n = 20
	s := serve(t, Options{Coalesce: time.Second, Registry: registry.Options{Lease: long}})
	s.join("a")
	ctx := soon(t)
	_, version, _, err := s.host.since(0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := rpc.OpenStream[[]byte, []byte](ctx, s.client(), methodWatch, version)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for watching := false; !watching; sleep.For(time.Millisecond, ctx.Done()) {
		s.host.do(func(time.Duration) { watching = s.host.guests > 0 })
	}
	for i := range n {
		s.host.do(func(now time.Duration) {
			if _, err := s.host.reg.Register(now, &registry.Registration{ID: fmt.Sprint("node-", i), Revision: 1}); err != nil {
				t.Error(err)
			}
		})
		sleep.For(time.Millisecond, ctx.Done()) // who does not wait sees each by itself
	}
	updates := 0
	for nodes := 0; nodes < n; updates++ {
		b, err := w.Recv(ctx)
		if err != nil {
			t.Fatal(err)
		}
		u, err := registry.Decode[registry.Update](b)
		if err != nil || u.From != version {
			t.Fatalf("an update from %d, not %d, %v", u.From, version, err)
		}
		nodes, version = nodes+len(u.Nodes), u.To
	}
	if updates > 2 { // the first may have been on its way
		t.Errorf("%d changes came in %d updates", n, updates)
	}
}

func TestWatchersAreBounded(t *testing.T) {
	s := serve(t, Options{Most: 1, Registry: registry.Options{Lease: long}})
	s.join("a")
	f := s.follow()
	until(t, f.View(), "the first watches", func() bool { return len(f.View().Nodes()) == 1 })
	second := Follow(s.client(), FollowOptions{})
	defer second.Close()
	if _, err := second.watch(soon(t)); !errors.Is(err, registry.Full) {
		t.Errorf("the second is told %v", err)
	}
}

// TestF14_HundredNodesAreKnownToHundredWatchers prints how long it takes.
func TestF14_HundredNodesAreKnownToHundredWatchers(t *testing.T) {
	const n = 100
	s := serve(t, Options{})
	watchers := make([]*Follower, n)
	clients := make([]*rpc.Client, n)
	for i := range n {
		watchers[i], clients[i] = s.follow(), s.client()
		if _, err := State(soon(t), clients[i], 1); err != nil { // connects
			t.Fatal(err)
		}
	}
	known := func(count int) {
		t.Helper()
		for _, f := range watchers {
			until(t, f.View(), "all are known", func() bool { return len(f.View().Nodes()) == count })
		}
	}
	known(0)
	var group sync.WaitGroup
	begin := time.Now()
	for i, c := range clients {
		group.Go(func() { joinAt(t, c, fmt.Sprintf("node-%03d", i)) })
	}
	group.Wait()
	joined := time.Since(begin)
	known(n)
	t.Logf("%d nodes have joined after %v, and %d watchers know them all after %v", n, joined, n, time.Since(begin))
	begin = time.Now()
	joinAt(t, s.client(), "one-more")
	known(n + 1)
	t.Logf("one more is known to all after %v", time.Since(begin))
}

func joinAt(t *testing.T, c *rpc.Client, id string) {
	n, err := Join(soon(t), c, NodeOptions{ID: id, Endpoints: registry.Endpoints{TCP: net.JoinHostPort(id, "9190")}, Services: []registry.Service{{Name: "echo"}}})
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = n.Close() })
}
