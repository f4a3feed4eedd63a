package registry

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// world is a pool under a virtual clock: a registry that is lost and replaced,
// nodes that crash, freeze and leave, and a network that delays, doubles and loses
// whatever passes. Every message is encoded and decoded.
type world struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	now     time.Duration
	events  events
	serial  int
	calm    bool // no more harm is done
	term    uint32
	reg     *Registry // nil: there is none
	nodes   []*simNode
	given   map[uint64]string // epoch: instance
	fenced  map[uint64]bool   // epochs that a registry said so of
	granted map[uint64]bool   // tokens
	did     map[string]int
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

func newWorld(t *testing.T, seed uint64, nodes int) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), term: 1,
		given: map[uint64]string{}, fenced: map[uint64]bool{}, granted: map[uint64]bool{}, did: map[string]int{},
	}
	w.start(w.one(2))
	for i := range nodes {
		w.nodes = append(w.nodes, w.newNode(fmt.Sprintf("node-%d", i), i == 1 || i > 1 && w.one(2)))
	}
	return w
}

func (w *world) one(in int) bool { return w.rng.IntN(in) == 0 }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d at %v: %s", w.seed, w.now, fmt.Sprintf(format, args...))
}

// start starts a registry in place of the one before.
func (w *world) start(first bool) {
	reg, err := New(w.now, Options{Term: w.term, First: first && w.term == 1, Log: 1 + w.rng.IntN(20)})
	if err != nil {
		w.fatalf("%v", err)
	}
	w.reg = reg
	w.term++
}

// run lets the world go on until a time, and looks at it after every event.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
		w.look()
	}
	w.now = until
}

// carry brings a request to the registry, and the answer back, or not. An answer
// that is nil does not come.
func (w *world) carry(n *simNode, ask func(*Registry) func()) {
	copies := 1
	if !w.calm && w.one(6) {
		copies = 2 * w.rng.IntN(2) // it gets lost, or is there twice
	}
	life := n.life
	for range copies {
		w.after(w.delay(), func() {
			if w.reg == nil || w.now < n.cut {
				return
			}
			answer := ask(w.reg)
			w.tell()
			if answer == nil || !w.calm && w.one(10) {
				return
			}
			w.after(w.delay(), func() { n.hear(life, answer) })
		})
	}
}

func (w *world) delay() time.Duration {
	if !w.calm && w.one(6) {
		return w.upTo(2 * time.Second)
	}
	return w.upTo(20 * time.Millisecond)
}

// tell brings the registry's news to those whom they are for.
func (w *world) tell() {
	for _, o := range w.reg.News(w.now) {
		if !w.calm && w.one(5) {
			continue
		}
		o := recode(w, &o)
		for _, n := range w.nodes {
			life := n.life
			w.after(w.delay(), func() { n.hear(life, func() { n.learn(o) }) })
		}
	}
}

// recode sends a message through the codec.
func recode[M Message](w *world, m *M) *M {
	b, err := Encode(m)
	if err != nil {
		w.fatalf("%v", err)
	}
	again, err := Decode[M](b)
	if err != nil {
		w.fatalf("%+v: %v", m, err)
	}
	return again
}

// harm does something bad now and then.
func (w *world) harm() {
	if w.calm {
		return
	}
	w.after(w.upTo(6*time.Second), w.harm)
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	switch w.rng.IntN(8) {
	case 0:
		w.did["registry lost"]++
		w.reg = nil
		w.after(w.upTo(map[bool]time.Duration{true: 30 * time.Second, false: time.Second}[w.one(4)]), func() {
			if w.reg == nil {
				w.start(false)
			}
		})
	case 1:
		w.did["crash"]++
		n.crash()
	case 2:
		w.did["freeze"]++
		n.freeze(w.upTo(40 * time.Second))
	case 3:
		w.did["cut off"]++
		n.cut = w.now + w.upTo(40*time.Second)
	case 4:
		w.did["leave"]++
		n.leave()
	case 5:
		w.did["change"]++
		n.change()
	case 6:
		w.did["twin"]++
		w.twin(n)
	}
}

// twin registers another instance of a node. If it may, it is gone at once.
func (w *world) twin(n *simNode) {
	m := &Registration{ID: n.id, Secret: w.secret(), Revision: 1, Lasting: n.lasting}
	w.carry(n, func(r *Registry) func() {
		if ack, err := r.Register(w.now, m); err == nil {
			w.noteEpoch(ack.Epoch, m)
		}
		return nil
	})
}

func (w *world) secret() (s Secret) {
	for i := range s {
		s[i] = byte(w.rng.Uint32())
	}
	return s
}

// noteEpoch checks that no two instances ever have the same epoch, and that it says of
// which kind they are.
func (w *world) noteEpoch(epoch uint64, m *Registration) {
	if Lasting(epoch) != m.Lasting || m.Lasting != (epoch%2 == 0) {
		w.fatalf("epoch %#x was given to %s, lasting: %v", epoch, m.ID, m.Lasting)
	}
	who := fmt.Sprintf("%s %x", m.ID, m.Secret)
	if was := w.given[epoch]; was != "" && was != who {
		w.fatalf("epoch %#x was given to %s, and to %s", epoch, was, who)
	}
	w.given[epoch] = who
}

// look holds the world against what is promised.
func (w *world) look() {
	ranks, epochs, locks := map[uint32]*simNode{}, map[uint64]*simNode{}, map[string]*simNode{}
	for _, n := range w.nodes {
		c := n.registrar.Condition()
		if c.Claim.Epoch == 0 || w.now < n.frozen {
			continue // its workers do not run
		}
		if other := ranks[c.Claim.Rank]; other != nil {
			w.fatalf("%s and %s have rank %d", other.id, n.id, c.Claim.Rank)
		}
		if other := epochs[c.Claim.Epoch]; other != nil {
			w.fatalf("%s and %s have epoch %#x", other.id, n.id, c.Claim.Epoch)
		}
		ranks[c.Claim.Rank], epochs[c.Claim.Epoch] = n, n
		for name := range n.has {
			if other := locks[name]; other != nil {
				w.fatalf("%s and %s have lock %s", other.id, n.id, name)
			}
			locks[name] = n
		}
		if w.fenced[c.Claim.Epoch] {
			w.fatalf("%s has epoch %#x, which is fenced", n.id, c.Claim.Epoch)
		}
	}
	if w.reg == nil {
		return
	}
	for epoch := range w.given {
		if epochs[epoch] == nil && w.serial%64 != 0 {
			continue // those that are over are many, and change little
		}
		switch s := w.reg.State(w.now, epoch); {
		case s == StateFenced && Lasting(epoch):
			w.fatalf("epoch %#x is said to have ended, and is of a lasting node", epoch)
		case s == StateFenced && epochs[epoch] != nil:
			w.fatalf("epoch %#x of %s is fenced, and it does not know", epoch, epochs[epoch].id)
		case s == StateFenced:
			w.fenced[epoch] = true
		case s != StateUnknown && w.fenced[epoch]:
			w.fatalf("epoch %#x was fenced, and is %s", epoch, s)
		}
	}
	w.sound(w.reg)
}

// sound checks a registry's books.
func (w *world) sound(r *Registry) {
	var digest Digest
	for rank, n := range r.ranks {
		if n != nil {
			digest.toggle(n.node.digest())
			if int(n.node.Rank) != rank || r.byID[n.node.ID] != n || r.byEpoch[n.node.Epoch] != n {
				w.fatalf("rank %d has %+v", rank, n.node)
			}
		}
	}
	if digest != r.Digest() || len(r.byID) != len(r.byEpoch) || len(r.byID) != r.leases.Len() {
		w.fatalf("%d nodes, %d epochs, %d leases, digest %x of %x", len(r.byID), len(r.byEpoch), r.leases.Len(), r.Digest(), digest)
	}
	for name, l := range r.locks {
		if l.holder != nil && (r.byEpoch[l.holder.owner.node.Epoch] == nil || l.holder.token == 0) {
			w.fatalf("lock %s is held by nobody who lives", name)
		}
	}
}
