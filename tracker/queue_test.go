package tracker

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelQueue says what a queue must do, in the plainest way: a slice, sorted
// anew each time.
type modelQueue struct {
	fair    bool
	waiting []*modelRequest
	sources map[string]*modelSource
	grants  int
}

type modelRequest struct {
	request  *request
	priority float64
	source   string
	arrival  int
}

type modelSource struct{ held, served int }

func (m *modelQueue) source(name string) *modelSource {
	if m.sources[name] == nil {
		m.sources[name] = &modelSource{}
	}
	return m.sources[name]
}

// sorted returns the requests, the next to be served first.
func (m *modelQueue) sorted() []*modelRequest {
	list := slices.Clone(m.waiting)
	slices.SortFunc(list, func(a, b *modelRequest) int {
		if a.priority != b.priority {
			if a.priority > b.priority {
				return -1
			}
			return 1
		}
		if sa, sb := m.source(a.source), m.source(b.source); m.fair && *sa != *sb {
			if sa.held != sb.held {
				return sa.held - sb.held
			}
			return sa.served - sb.served
		}
		return a.arrival - b.arrival
	})
	return list
}

func (m *modelQueue) remove(r *modelRequest) {
	m.waiting = slices.DeleteFunc(m.waiting, func(x *modelRequest) bool { return x == r })
}

// forget drops sources that neither wait nor hold: who comes back is new.
func (m *modelQueue) forget() {
	for name, s := range m.sources {
		waits := slices.ContainsFunc(m.waiting, func(r *modelRequest) bool { return r.source == name })
		if s.held == 0 && !waits {
			delete(m.sources, name)
		}
	}
}

func TestQueueServesInTheModelsOrder(t *testing.T) {
	for _, fair := range []bool{false, true} {
		t.Run(fmt.Sprintf("fair share %v", fair), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkQueue(t, fair) })
		})
	}
}

type heldDevice struct {
	source *source
	name   string
}

func checkQueue(t *rapid.T, fair bool) {
	q := newQueue("k", fair)
	m := &modelQueue{fair: fair, sources: map[string]*modelSource{}}
	var held []heldDevice
	arrivals := 0
	t.Repeat(map[string]func(*rapid.T){
		"push": func(t *rapid.T) {
			r := &modelRequest{
				priority: rapid.SampledFrom([]float64{-3, 0, 0.5, 1, 1e9}).Draw(t, "priority"),
				source:   rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "source"),
				arrival:  arrivals,
			}
			r.request = &request{priority: r.priority, seq: uint64(arrivals)}
			arrivals++
			m.waiting = append(m.waiting, r)
			m.source(r.source)
			q.push(r.request, r.source)
		},
		"leave": func(t *rapid.T) {
			if len(m.waiting) == 0 {
				t.Skip("nobody waits")
			}
			r := rapid.SampledFrom(m.waiting).Draw(t, "leaves")
			m.remove(r)
			q.remove(r.request)
		},
		"serve": func(t *rapid.T) {
			if len(m.waiting) == 0 {
				t.Skip("nobody waits")
			}
			r := m.sorted()[0]
			if q.best() != r.request {
				t.Fatalf("best is arrival %d, want %d", q.best().seq, r.arrival)
			}
			q.remove(r.request)
			m.remove(r)
			m.forget()
			held = append(held, heldDevice{q.take(r.source), r.source})
			m.grants++
			m.source(r.source).held++
			m.source(r.source).served = m.grants
		},
		"give back": func(t *rapid.T) {
			if len(held) == 0 {
				t.Skip("nobody holds a device")
			}
			i := rapid.IntRange(0, len(held)-1).Draw(t, "held")
			q.giveBack(held[i].source)
			m.source(held[i].name).held--
			held = slices.Delete(held, i, i+1)
		},
		"": func(t *rapid.T) {
			m.forget()
			compareQueues(t, q, m)
		},
	})
}

func compareQueues(t *rapid.T, q *queue, m *modelQueue) {
	var got, want []uint64
	q.each(func(r *request) bool {
		got = append(got, r.seq)
		return true
	})
	// each walks lane by lane and does not foresee how serving one request
	// changes the order of the rest, so with fair share only the first is sure.
	for _, r := range m.sorted() {
		want = append(want, uint64(r.arrival))
	}
	if m.fair && len(got) == len(want) {
		got, want = got[:min(1, len(got))], want[:min(1, len(want))]
	}
	if !slices.Equal(got, want) {
		t.Fatalf("order %v, want %v", got, want)
	}
	if q.waiting != len(m.waiting) {
		t.Fatalf("%d wait, want %d", q.waiting, len(m.waiting))
	}
	if m.fair && len(q.sources) != len(m.sources) {
		t.Fatalf("%d sources are remembered, want %d", len(q.sources), len(m.sources))
	}
	if len(q.lanes) != len(q.byLane) {
		t.Fatalf("%d lanes in the heap, %d by name", len(q.lanes), len(q.byLane))
	}
}

func TestFairShareBetweenClients(t *testing.T) {
	h := start(t, Options{FairShare: true})
	// The source is the address: 127.0.0.x are different hosts to the tracker.
	greedy := []*wire{h.joinFrom("127.0.0.2"), h.joinFrom("127.0.0.2"), h.joinFrom("127.0.0.2")}
	modest := h.joinFrom("127.0.0.3")
	for i, w := range append(greedy, modest) {
		w.send(`[4, "k", "", 1]`)
		h.wantQueue("k", 0, i+1)
	}
	server := h.join()
	putOne(server, "k", "k:1")
	greedy[0].wantGrant("k:1") // nobody holds anything: by arrival
	other := h.join()
	putOne(other, "k", "k:2")
	modest.wantGrant("k:2") // came last, but holds nothing
	modest.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 3)
	putOne(server, "k", "k:3") // greedy's session is over: it holds none, modest one
	greedy[1].wantGrant("k:3")
	putOne(other, "k", "k:4") // modest's is over
	modest.wantGrant("k:4")
	putOne(h.join(), "k", "k:5")
	greedy[2].wantGrant("k:5")
}
