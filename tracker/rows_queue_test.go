package tracker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// queueUp makes one client per priority wait, in this order.
func queueUp(h *harness, key string, priorities ...string) []*wire {
	h.t.Helper()
	clients := make([]*wire, len(priorities))
	for i, p := range priorities {
		clients[i] = h.join()
		clients[i].send(`[4, "` + key + `", "", ` + p + `]`)
		h.wantQueue(key, 0, i+1)
	}
	return clients
}

func putOne(w *wire, key, matchKey string) {
	w.t.Helper()
	w.ask(fmt.Sprintf(`[3, %q, [9090, %q], null]`, key, matchKey), "0")
}

func checkPriorityOrder(t *testing.T, o Options) {
	h := start(t, o)
	clients := queueUp(h, "k", "0", "1", "5", "1")
	server := h.join()
	for i, served := range []int{2, 1, 3, 0} {
		mk := fmt.Sprintf("k:%d", i)
		putOne(server, "k", mk)
		clients[served].wantGrant(mk)
	}
}

func TestRow039_PriorityOrder(t *testing.T) { checkPriorityOrder(t, Options{}) }

func TestRow040_PriorityValues(t *testing.T) {
	t.Run("numbers are ordered", func(t *testing.T) {
		h := start(t, Options{})
		clients := queueUp(h, "k", "-3", "0.5", "1e9", "0")
		server := h.join()
		for i, served := range []int{2, 1, 3, 0} {
			mk := fmt.Sprintf("k:%d", i)
			putOne(server, "k", mk)
			clients[served].wantGrant(mk)
		}
	})
	for _, p := range []string{`"a"`, `null`, `NaN`, `Infinity`, `1e999`, `true`} {
		t.Run(p, func(t *testing.T) { wantRefused(t, `[4, "k", "", `+p+`]`, rejectBadMessage) })
	}
}

func checkDeviceOrder(t *testing.T, o Options) {
	h := start(t, o)
	for _, name := range []string{"A", "B", "C"} {
		putOne(h.join(), "k", name)
	}
	client := h.join()
	for _, name := range []string{"A", "B", "C"} {
		client.send(`[4, "k", "", 1]`)
		client.wantGrant(name)
	}
}

func TestRow041_DevicesInTheOrderOfTheirPuts(t *testing.T) { checkDeviceOrder(t, Options{}) }

func TestRow042_SeveralRequestsOnOneConnection(t *testing.T) {
	h := start(t, Options{})
	client, server := h.join(), h.join()
	for range 3 {
		client.send(`[4, "k", "", 1]`)
	}
	h.wantQueue("k", 0, 3)
	for i := range 3 {
		putOne(server, "k", fmt.Sprintf("k:%d", i))
	}
	for i := range 3 {
		client.wantGrant(fmt.Sprintf("k:%d", i))
	}
}

func TestRow043_OtherMessagesWhileWaiting(t *testing.T) {
	h := start(t, Options{})
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	client.ask(`[1]`, "0")
	if s := client.summary(); s.Queue["k"].Pending != 1 {
		t.Errorf("summary %+v", s)
	}
	putOne(h.join(), "k", "k:1")
	client.wantGrant("k:1")
	t.Run("all in one write", func(t *testing.T) {
		var frames []byte
		for _, payload := range []string{`[1]`, `[3, "o", [1, "o:1"], null]`, `[4, "o", "", 1]`, `[1]`} {
			frames = tvm.AppendFrame(frames, []byte(payload))
		}
		client.write(frames)
		client.want("0")
		client.want("0")
		client.wantGrant("o:1")
		client.want("0")
	})
}

func TestRow044_QueuedClientCloses(t *testing.T) {
	for name, leave := range map[string]func(*wire){"FIN": (*wire).close, "RST": (*wire).reset} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Options{})
			server := h.join()
			for i := range 100 { // the PUT races with the tracker's notice of the end
				clients := queueUp(h, "k", "5", "1")
				leave(clients[0])
				mk := fmt.Sprintf("k:%d", i)
				putOne(server, "k", mk)
				clients[1].wantGrant(mk)
				clients[1].close()
			}
		})
	}
}

func TestRow045_PendingAfterSuchAClose(t *testing.T) {
	h := start(t, Options{})
	for _, c := range queueUp(h, "k", "1", "2", "1") {
		c.close()
	}
	h.wantConns(0)
	if s := h.join().summary(); len(s.Queue) != 0 {
		t.Errorf("queues %v, want none", s.Queue)
	}
}

func TestRow047_ServerClosesWhileFree(t *testing.T) {
	h := start(t, Options{})
	h.register("k", "k:1").close()
	h.wantConns(0)
	client := h.join()
	if s := client.summary(); len(s.Servers) != 0 || s.Queue["k"].Free != 0 {
		t.Errorf("summary %+v, want no server and nothing free", s)
	}
	client.send(`[4, "k", "", 1]`)
	client.wantOpen() // no grant came
	putOne(h.join(), "k", "k:2")
	client.wantGrant("k:2")
}

func TestRow048_UnregisteredPeerCloses(t *testing.T) { checkValueIsGone(t, "k:1") }

func TestRow049_MatchKeyOfAnotherPrefix(t *testing.T) { checkValueIsGone(t, "abc") }

func checkValueIsGone(t *testing.T, matchKey string) {
	h := start(t, Options{})
	stale := h.join()
	putOne(stale, "k", matchKey)
	h.wantQueue("k", 1, 0)
	stale.close()
	h.wantConns(0)
	h.wantQueue("k", 0, 0)
	client := queueUp(h, "k", "1")[0]
	putOne(h.join(), "k", "k:2")
	client.wantGrant("k:2")
	client.wantOpen()
}

func TestRow050_ServerClosesAfterTheGrant(t *testing.T) {
	h := start(t, Options{})
	server, client := h.register("k", "k:1"), h.join()
	client.send(`[4, "k", "", 1]`)
	client.wantGrant("k:1")
	server.ask(`[7]`, `[]`)
	server.close()
	h.wantConns(1)
	client.wantOpen()
	if s := client.summary(); len(s.Servers) != 0 {
		t.Errorf("servers %v, want none", s.Servers)
	}
}

func TestRow051_TwoServersWithTheSameMatchKey(t *testing.T) {
	h := start(t, Options{})
	a, b, client := h.join(), h.join(), h.join()
	offer := func(w *wire, host string) { w.ask(`[3, "k", [9090, "k:1"], "`+host+`"]`, "0") }
	offer(a, "a")
	offer(b, "b")
	for _, host := range []string{"a", "b"} {
		client.ask(`[4, "k", "", 1]`, `[0, ["`+host+`", 9090, "k:1"]]`)
	}
	offer(a, "a")
	offer(b, "b")
	a.close()
	h.wantConns(2)
	b.ask(`[7]`, `["k:1"]`)
	client.ask(`[4, "k", "", 1]`, `[0, ["b", 9090, "k:1"]]`)
}

func TestRow052_SameMatchKeyTwiceOnOneConnection(t *testing.T) {
	h := start(t, Options{})
	server, first, second := h.join(), h.join(), h.join()
	putOne(server, "k", "k:1")
	server.ask(`[3, "k", [9091, "k:1"], null]`, "0") // replaces
	server.ask(`[7]`, `["k:1"]`)
	h.wantQueue("k", 1, 0)
	first.ask(`[4, "k", "", 1]`, `[0, ["127.0.0.1", 9091, "k:1"]]`)
	second.send(`[4, "k", "", 1]`)
	second.wantOpen()
	putOne(server, "k", "k:1") // once more, as JVM servers do
	second.wantGrant("k:1")
	first.wantOpen()
	second.wantOpen()
}

func TestRow053_DeviceKeyWithColons(t *testing.T) {
	const key = "127.0.0.1:5555"
	h := start(t, Options{})
	server := h.register(key, key+":0.3")
	if q := h.Summary().Queue; len(q) != 1 || q[key].Free != 1 {
		t.Errorf("queues %v", q)
	}
	server.close()
	h.wantConns(0)
	h.wantQueue(key, 0, 0)
	client := h.join()
	client.send(`[4, "` + key + `", "", 1]`)
	client.wantOpen()
	putOne(h.join(), key, key+":0.4")
	client.wantGrant(key + ":0.4")
}

func TestRow054_OddDeviceKeys(t *testing.T) {
	h := start(t, Options{})
	server, client := h.join(), h.join()
	keys := []string{`a b`, `a\"b`, `a\\b`, `schl\u00fcssel`, `schlüssel`, `<k>&`, `\ud83d\ude00`, `a\u0000b`}
	ask := func(key string) string { return `[4, "` + key + `", "", 1]` }
	for i, key := range keys {
		server.ask(fmt.Sprintf(`[3, "%s", [%d, "%s:%d"], null]`, key, i, key, i), "0")
	}
	for i, key := range keys {
		want, err := tvm.ParseMessage(fmt.Appendf(nil, `[3, "%s", [%d, "%s:%d"], null]`, key, i, key, i))
		if err != nil {
			t.Fatal(err)
		}
		client.send(ask(key))
		if g := client.grant(); g.MatchKey != want.(tvm.Put).MatchKey {
			t.Errorf("key %s: granted %q", key, g.MatchKey)
		}
	}
	server.ask(`[7]`, `[]`)
}

func TestRow055_EmptyDeviceKey(t *testing.T) {
	w := start(t, Options{}).join()
	w.ask(`[3, "", [9090, ":1"], null]`, "0")
	w.ask(`[4, "", "", 1]`, `[0, ["127.0.0.1", 9090, ":1"]]`)
}

// stockServer offers as stock Python and C++ servers do, in the time of a fake
// clock: it polls every 2 s and gives a ticket up after 4 misses.
type stockServer struct {
	*wire
	h       *harness
	tickets int
	misses  int
}

func newStockServer(h *harness) *stockServer {
	h.t.Helper()
	s := &stockServer{wire: h.join(), h: h}
	s.ask(`[5, {"key": "server:k", "addr": [null, 9090]}]`, "0")
	s.offer()
	return s
}

func (s *stockServer) ticket() string { return fmt.Sprintf("k:0.%d", s.tickets) }

func (s *stockServer) offer() {
	s.t.Helper()
	s.tickets++
	s.misses = 0
	putOne(s.wire, "k", s.ticket())
}

// poll lets 2 s pass and polls.
func (s *stockServer) poll() {
	s.t.Helper()
	s.h.clock.advance(2 * time.Second)
	s.send(`[7]`)
	if keys := s.frame(); strings.Contains(keys, s.ticket()) {
		s.misses = 0
		return
	}
	if s.misses++; s.misses == 4 {
		s.offer()
	}
}

func TestRow056_LostTicket(t *testing.T) {
	h := startFake(t, Options{})
	server := newStockServer(h)
	server.poll()
	lost, next := h.join(), h.join()
	lost.send(`[4, "k", "", 1]`)
	lost.wantGrant("k:0.1")
	next.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	granted := h.clock.Now()
	for server.tickets == 1 {
		if state := h.server().State(); state != string(StateGranted) {
			t.Fatalf("state %s while the ticket waits, want granted", state)
		}
		server.poll()
	}
	if took := h.clock.Now().Sub(granted); took < 7*time.Second || took > 9*time.Second {
		t.Errorf("offered again after %v, want 7 to 9 s", took)
	}
	next.wantGrant("k:0.2")
	if got := h.handoffs(); got != "used 0, expired 1, returned 0, unknown 0" {
		t.Errorf("handoffs: %s", got)
	}
}

// handoffs prints the counts of grants by result.
func (h *harness) handoffs() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var parts []string
	for r, n := range h.registry.counts.handoffs {
		parts = append(parts, fmt.Sprintf("%s %d", handoffResult(r), n))
	}
	return strings.Join(parts, ", ")
}

func TestRow057_TrackerRestart(t *testing.T) {
	first := start(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var peers sync.WaitGroup
	defer peers.Wait()
	defer cancel()
	for i := range 10 { // servers that reconnect as stock ones do, but sooner
		peers.Go(func() {
			for ctx.Err() == nil {
				_ = keepOffered(ctx, first.addr, fmt.Sprintf("k:%d", i))
			}
		})
	}
	first.wantQueue("k", 10, 0)
	first.stop()
	second := startAt(t, Options{}, first.addr)
	second.wantQueue("k", 10, 0)
	client := second.join()
	client.send(`[4, "k", "", 1]`)
	client.grant()
}

// keepOffered registers, offers one ticket and polls until something fails.
func keepOffered(ctx context.Context, addr, ticket string) error {
	c, err := Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.UpdateInfo(ctx, tvm.NewUpdateInfo("k", "", 9090)); err != nil {
		return err
	}
	if err := c.Put(ctx, tvm.Put{Key: "k", Port: tvm.PortNumber(9090), MatchKey: ticket}); err != nil {
		return err
	}
	for {
		if _, err := c.Pending(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestRow058_FairShareKeepsTheOrderOfOneClient(t *testing.T) {
	checkPriorityOrder(t, Options{FairShare: true})
	checkDeviceOrder(t, Options{FairShare: true})
}

// The load of the row, shortened: as many clients as the machine can wait for
// in a few seconds. The row's figures come from the benchmarks.
func TestRow059_LoadLosesAndDoublesNothing(t *testing.T) {
	const servers, clients, seconds = 50, 250, 2
	h := start(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
	defer cancel()
	load := newLoad(t, h.addr, servers)
	var running sync.WaitGroup
	for range clients {
		running.Go(func() { load.request(ctx) })
	}
	running.Wait()
	h.wantQueue("k", servers, 0) // no device is lost
	load.stop()
	load.mu.Lock()
	defer load.mu.Unlock()
	for ticket, n := range load.granted {
		if n > 1 {
			t.Errorf("ticket %s was granted %d times", ticket, n)
		}
	}
	if len(load.waits) < servers {
		t.Errorf("only %d grants", len(load.waits))
	}
	t.Logf("%d grants in %d s, wait p50 %v, p99 %v", len(load.waits), seconds, percentile(load.waits, 50), percentile(load.waits, 99))
}

// load is a set of servers whose sessions last some milliseconds, and the
// account of what was granted.
type load struct {
	t       testing.TB
	addr    string
	servers sync.WaitGroup
	ended   chan struct{}

	mu      sync.Mutex
	granted map[string]int
	waits   []time.Duration
	session map[string]chan struct{} // by ticket: told when its client comes
}

func newLoad(t testing.TB, addr string, servers int) *load {
	l := &load{t: t, addr: addr, ended: make(chan struct{}), granted: map[string]int{}, session: map[string]chan struct{}{}}
	for i := range servers {
		c := dialClient(t, addr)
		l.servers.Go(func() { l.serve(c, i) })
	}
	return l
}

func (l *load) stop() {
	close(l.ended)
	l.servers.Wait()
}

func (l *load) serve(c *Client, id int) {
	for n := 0; ; n++ {
		ticket := fmt.Sprintf("k:%d-%d", id, n)
		came := make(chan struct{}, 1)
		l.mu.Lock()
		l.session[ticket] = came
		l.mu.Unlock()
		err := c.Put(l.t.Context(), tvm.Put{Key: "k", Port: tvm.PortNumber(id), MatchKey: ticket})
		if err != nil {
			l.t.Error(err)
			return
		}
		select {
		case <-came:
			time.Sleep(2 * time.Millisecond) // the session
		case <-l.ended:
			return
		}
	}
}

// request asks for servers until ctx ends, now and then on a new connection, as
// AutoTVM does for each measurement.
func (l *load) request(ctx context.Context) {
	const perConnection = 10
	for ctx.Err() == nil {
		c, err := Dial(l.t.Context(), l.addr)
		if err != nil {
			l.t.Error(err)
			return
		}
		for n := 0; n < perConnection && ctx.Err() == nil; n++ {
			begin := time.Now()
			g, err := c.Request(l.t.Context(), "k", 1)
			if err != nil {
				l.t.Error(err)
				return
			}
			l.came(g.MatchKey, time.Since(begin))
		}
		_ = c.Close()
	}
}

func (l *load) came(ticket string, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.granted[ticket]++
	l.waits = append(l.waits, wait)
	if l.granted[ticket] == 1 {
		l.session[ticket] <- struct{}{}
	}
}
