package tracker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rpcpool.dev/tvm"
)

// world drives a registry with any sequence of events and keeps account of what
// must hold whatever they are.
type world struct {
	r        *registry
	now      time.Time
	peers    []*peer
	gone     map[*peer]bool
	offers   map[*offer]int // times granted less times returned
	open     []handoff      // grants that may still turn out undelivered
	requests uint64
	before   map[string]string // shown at the last check
	at       time.Time         // of the last check
}

func newWorld(fair bool) *world {
	return &world{
		r: newRegistry(fair, DefaultHungAfter), now: newFakeClock().now,
		gone: map[*peer]bool{}, offers: map[*offer]int{}, before: map[string]string{},
	}
}

func (w *world) took(t *rapid.T, out []handoff) {
	for _, h := range out {
		switch {
		case w.gone[h.to]:
			t.Fatalf("granted to a client that is gone")
		case w.r.settling:
			t.Fatalf("granted while the tracker settles")
		case h.offer.owner.held:
			t.Fatalf("granted the ticket %s of a server that is held", h.offer.matchKey)
		case w.gone[h.offer.owner]:
			t.Fatalf("granted the ticket %s of a server that is gone", h.offer.matchKey)
		}
		if w.offers[h.offer]++; w.offers[h.offer] > 1 {
			t.Fatalf("ticket %s was granted twice", h.offer.matchKey)
		}
		w.open = append(w.open, h)
	}
}

func (w *world) peer(t *rapid.T) *peer {
	if len(w.peers) == 0 {
		t.Skip("nobody is connected")
	}
	return rapid.SampledFrom(w.peers).Draw(t, "peer")
}

var testKeys = rapid.SampledFrom([]string{"a", "b", ""})

func (w *world) join(t *rapid.T) {
	p := &peer{addr: fmt.Sprintf("10.0.0.%d:1", len(w.gone)%3), host: fmt.Sprintf("10.0.0.%d", len(w.gone)%3), port: 1}
	w.r.join(p, w.now)
	w.peers = append(w.peers, p)
}

func (w *world) put(t *rapid.T) {
	mk := rapid.SampledFrom([]string{"m1", "m2", "m3"}).Draw(t, "match key")
	out, err := w.r.put(w.peer(t), w.now, tvm.Put{Key: testKeys.Draw(t, "key"), Port: json.RawMessage("1"), MatchKey: mk}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.took(t, out)
}

func (w *world) request(t *rapid.T) {
	m := tvm.Request{Key: testKeys.Draw(t, "key"), Priority: rapid.SampledFrom([]float64{0, 1, 2}).Draw(t, "priority")}
	out, err := w.r.request(w.peer(t), w.now, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.requests++
	w.took(t, out)
}

func (w *world) poll(t *rapid.T) {
	p := w.peer(t)
	keys, out := w.r.pending(p, w.now, nil)
	w.took(t, out)
	for _, h := range out {
		keys = slices.DeleteFunc(keys, func(k string) bool { return h.offer.owner == p && k == h.offer.matchKey })
	}
	for _, key := range keys {
		if p.offers[key] == nil {
			t.Fatalf("pending lists %s, which is not on offer", key)
		}
	}
}

func (w *world) update(t *rapid.T) {
	state := rapid.SampledFrom([]tvm.NativeState{"", "free", "busy", "draining", "odd"}).Draw(t, "state")
	m := tvm.NewUpdateInfo(testKeys.Draw(t, "key"), "", 1)
	if state != "" {
		m.SetState(state, nil)
	}
	if instance := testInstances.Draw(t, "instance"); instance != "" {
		m.Info[tvm.FieldInstance] = fmt.Appendf(nil, "%q", instance)
	}
	p := w.peer(t)
	out, _, err := w.r.update(p, w.now, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.took(t, out)
	if state == "busy" && len(p.offers) > 0 {
		t.Fatal("a busy server has offers")
	}
}

var testInstances = rapid.SampledFrom([]string{"", "i1", "i2"})

// hold changes what one of two owners holds.
func (w *world) hold(t *rapid.T) {
	owner := rapid.SampledFrom([]string{"o1", "o2"}).Draw(t, "owner")
	instances := rapid.SliceOfNDistinct(testInstances, 0, 2, rapid.ID).Draw(t, "instances")
	w.took(t, w.r.hold(owner, instances, w.now, nil))
}

// open ends the settling, if it has not ended.
func (w *world) settled(t *rapid.T) { w.took(t, w.r.open(w.now, nil)) }

// leave closes a connection. Some of the grants to it have not arrived.
func (w *world) leave(t *rapid.T) {
	p := w.peer(t)
	w.peers = slices.DeleteFunc(w.peers, func(x *peer) bool { return x == p })
	w.gone[p] = true
	var undelivered []*offer
	w.open = slices.DeleteFunc(w.open, func(h handoff) bool {
		if h.to == p && rapid.Bool().Draw(t, "undelivered") {
			undelivered = append(undelivered, h.offer)
		}
		return h.to == p
	})
	for _, o := range undelivered {
		if o.state == offerGranted && o.grantee == p.id {
			w.offers[o]--
		}
	}
	w.took(t, w.r.leave(p, w.now, undelivered, nil))
}

func (w *world) wait(t *rapid.T) {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, 2 * time.Second, 11 * time.Second}).Draw(t, "wait"))
}

// hang lets a peer poll as stock servers do and then fall silent, while others
// are heard.
func (w *world) hang(t *rapid.T) {
	p := w.peer(t)
	for range regularPolls + 1 {
		w.now = w.now.Add(2 * time.Second)
		_, out := w.r.pending(p, w.now, nil)
		w.took(t, out)
	}
	w.now = w.now.Add(DefaultHungAfter + time.Second)
}

// look takes a snapshot, which notices hung servers.
func (w *world) look(t *rapid.T) {
	s := w.r.snapshot(w.now).reply()
	for key, q := range s.Queue {
		if q.Free != w.r.queues[key].free.Len() || len(q.Waiting) != min(q.Pending, maxWaiting) {
			t.Fatalf("queue %q: %+v", key, q)
		}
	}
	for _, server := range s.Servers {
		if host, port := server.Addr(); host == "" || port == "" || server.State() == "" {
			t.Fatalf("server %v", server.Info)
		}
	}
}

// shown is what the operator sees of a key, but for what time alone changes.
func (w *world) shown(key string) string {
	q := w.r.queues[key]
	if q == nil {
		q = newQueue(key, false)
	}
	list := w.r.serversOf(q, w.now)
	slices.SortFunc(list, func(a, b ServerStatus) int { return compare(a.id, b.id) })
	text := fmt.Sprint(q.waiting)
	for _, s := range list {
		if s.State == StateGranted {
			s.State = StateBusy // of stock servers, silence alone tells one from the other
		}
		text += fmt.Sprint(" ", s.id, s.Name, s.Instance, s.State, s.Client, s.Session, s.Reason)
	}
	return text
}

// checkNews checks that whatever changed was told.
func (w *world) checkNews(t *rapid.T) {
	told := w.r.news()
	for _, key := range []string{"a", "b", ""} {
		now := w.shown(key)
		if w.at.Equal(w.now) && now != w.before[key] && !slices.Contains(told, key) {
			t.Fatalf("key %q: nobody is told that %q became %q", key, w.before[key], now)
		}
		w.before[key] = now
	}
	w.at = w.now
}

// check checks everything that must hold between events.
func (w *world) check(t *rapid.T) {
	w.checkNews(t)
	w.checkQueues(t)
	var bytes int64
	waiting, granted := 0, 0
	for _, p := range w.peers {
		bytes += p.bytes
		waiting += len(p.requests)
		granted += len(p.granted)
		w.checkOffers(t, p)
	}
	if bytes != w.r.bytes {
		t.Fatalf("%d bytes are accounted for, %d by peers", w.r.bytes, bytes)
	}
	c := w.r.counts
	if c.granted+c.abandoned+c.refused+uint64(waiting) != w.requests {
		t.Fatalf("%d requests: %+v and %d wait", w.requests, c, waiting)
	}
	ended := uint64(0)
	for _, n := range c.handoffs {
		ended += n
	}
	if ended+uint64(granted) != c.granted {
		t.Fatalf("%d grants: %d ended and %d open", c.granted, ended, granted)
	}
}

func (w *world) checkOffers(t *rapid.T, p *peer) {
	if held := w.r.holds.owners[p.said.instance] > 0; held != p.held {
		t.Fatalf("instance %q: held %v, its server %v", p.said.instance, held, p.held)
	}
	withheld := 0
	for mk, o := range p.offers {
		live := o.state == offerFree && !p.held || o.state == offerHeld && p.held || o.state == offerWithheld
		if o.owner != p || o.matchKey != mk || !live {
			t.Fatalf("offer %s is in state %d", mk, o.state)
		}
		if o.state == offerWithheld {
			withheld++
		}
	}
	if withheld != p.withheld {
		t.Fatalf("%d offers are withheld, %d are counted", withheld, p.withheld)
	}
	for _, o := range p.granted {
		if o.state != offerGranted || w.offers[o] != 1 {
			t.Fatalf("granted offer %s is in state %d, granted %d times", o.matchKey, o.state, w.offers[o])
		}
	}
}

func (w *world) checkQueues(t *rapid.T) {
	for key, q := range w.r.queues {
		if q.key != key || (q.idle() != (q.lingering != nil)) {
			t.Fatalf("queue %q: idle %v, lingering %v", key, q.idle(), q.lingering != nil)
		}
		free, offers, homes := 0, 0, 0
		for _, p := range w.peers {
			for _, o := range slices.Concat(slices.Collect(maps.Values(p.offers)), p.granted) {
				if o.queue == q {
					offers++
					if o.state == offerFree {
						free++
					}
				}
			}
			if p.home == q {
				homes++
			}
		}
		if free != q.free.Len() || offers != q.offers || homes != len(q.homes) {
			t.Fatalf("queue %q: %d free, %d offers, %d homes; %d, %d, %d are counted", key, free, offers, homes, q.free.Len(), q.offers, len(q.homes))
		}
		if q.waiting > 0 && w.r.usable(q, w.now) != nil {
			t.Fatalf("queue %q: %d wait although a device is free", key, q.waiting)
		}
	}
}

func TestRegistryHoldsItsInvariants(t *testing.T) {
	for _, fair := range []bool{false, true} {
		t.Run(fmt.Sprintf("fair share %v", fair), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(fair)
				w.r.settling, w.r.watched = rapid.Bool().Draw(t, "settling"), true
				t.Repeat(map[string]func(*rapid.T){
					"join": w.join, "put": w.put, "put again": w.put, "request": w.request,
					"poll": w.poll, "poll again": w.poll, "update": w.update, "leave": w.leave, "wait": w.wait,
					"hang": w.hang, "look": w.look, "hold": w.hold, "open": w.settled,
					"": w.check,
				})
				for len(w.peers) > 0 {
					w.leave(t)
				}
				w.check(t)
				w.r.hold("o1", nil, w.now, nil)
				w.r.hold("o2", nil, w.now, nil)
				w.r.news()
				if h := w.r.holds; len(h.byOwner)+len(h.owners)+len(h.peers)+len(w.r.touched) > 0 {
					t.Fatalf("left behind: %+v, %d touched", h, len(w.r.touched))
				}
				w.r.expire(w.now.Add(lingerFor))
				if len(w.r.queues) > 0 || w.r.lingering.Len() > 0 || len(w.r.servers) > 0 || w.r.bytes != 0 {
					t.Fatalf("left behind: %d queues, %d servers, %d bytes", len(w.r.queues), len(w.r.servers), w.r.bytes)
				}
			})
		})
	}
}
