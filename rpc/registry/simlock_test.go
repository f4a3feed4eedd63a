package registry

import (
	"container/heap"
	"flag"
	"maps"
	"slices"
	"testing"
	"time"
)

func (e *events) fix() { heap.Init(e) }

// work asks for locks, has them for a while and gives them back.
func (n *simNode) work() {
	w, life := n.w, n.life
	w.after(100*time.Millisecond+w.upTo(2*time.Second), func() { n.hear(life, n.work) })
	claim := n.registrar.Condition().Claim
	if claim.Epoch == 0 {
		return
	}
	owner := n.registrar.owner()
	name := []string{"a", "b"}[w.rng.IntN(2)]
	if n.has[name].Token == 0 && n.wants[name] == 0 {
		n.number++
		n.wants[name] = n.number
	}
	for _, name := range slices.Sorted(maps.Keys(n.wants)) {
		n.ask(&Request{Owner: owner, Number: n.wants[name], Name: name})
	}
	for _, number := range slices.Sorted(maps.Keys(n.undone)) {
		n.release(owner, number)
	}
}

func (n *simNode) ask(q *Request) {
	w := n.w
	q = recode(w, q)
	w.carry(n, func(r *Registry) func() {
		o, err := r.Lock(w.now, q)
		if err != nil {
			return nil
		}
		again := recode(w, &o)
		return func() { n.learn(again) }
	})
}

// learn is told what has become of a request.
func (n *simNode) learn(o *Outcome) {
	w := n.w
	if o.Epoch != n.registrar.Condition().Claim.Epoch {
		return
	}
	name := ""
	for k, number := range n.wants {
		if number == o.Number {
			name = k
		}
	}
	switch {
	case name == "" && o.Progress == Granted && !n.owns(o.Number):
		w.did["unwanted grant"]++
		n.release(n.registrar.owner(), o.Number)
	case name != "" && o.Progress == Over:
		delete(n.wants, name)
	case name != "" && o.Progress == Granted:
		h := Held{Name: name, Number: o.Number, Token: o.Token}
		if !n.registrar.Hold(n.clock(), o.Epoch, h) {
			w.did["grant not taken"]++
			return
		}
		if w.granted[o.Token] {
			w.fatalf("token %#x was granted twice", o.Token)
		}
		w.granted[o.Token] = true
		delete(n.wants, name)
		n.has[name] = h
		n.turns++
		w.did["lock had"]++
		life := n.life
		w.after(w.upTo(8*time.Second), func() { n.hear(life, func() { n.drop(h) }) })
	}
}

func (n *simNode) owns(number uint64) bool {
	for _, h := range n.has {
		if h.Number == number {
			return true
		}
	}
	return false
}

func (n *simNode) drop(h Held) {
	if n.has[h.Name] != h {
		return
	}
	n.registrar.Drop(h.Name)
	delete(n.has, h.Name)
	n.release(n.registrar.owner(), h.Number)
}

func (n *simNode) release(owner Owner, number uint64) {
	w := n.w
	n.undone[number] = true
	q := recode(w, &Request{Owner: owner, Number: number})
	w.carry(n, func(r *Registry) func() {
		if r.Release(w.now, q) != nil {
			return nil
		}
		return func() { delete(n.undone, number) }
	})
}

var seedsFlag = flag.Int("seeds", 4, "how many pools are played; all but three are others each time")

// TestWhateverHappens plays pools that everything happens to, and looks at them
// after every event; then nothing happens any more, and all must agree.
func TestWhateverHappens(t *testing.T) {
	seeds, did := *seedsFlag, map[string]int{}
	if testing.Short() {
		seeds = 2
	}
	from := uint64(time.Now().UnixNano())
	for i := range seeds {
		seed := uint64(i)
		if i >= 3 {
			seed = from + uint64(i) // others each time
		}
		w := newWorld(t, seed, 3+i%6)
		w.harm()
		w.run(5 * time.Minute)
		w.rest()
		w.outage()
		for k, v := range w.did {
			did[k] += v
		}
	}
	t.Logf("%d seeds, from %d on: %v", seeds, from, did)
	for _, what := range []string{
		"registry lost", "crash", "freeze", "fenced itself", "went on without a lease", "gap", "lock had", "outage",
	} {
		if did[what] == 0 && !testing.Short() {
			t.Errorf("it never happened: %s", what)
		}
	}
}

// outage takes the registry away for longer than a lease: lasting nodes come back as what they
// were, and nobody is told that they are gone; the others are newcomers.
func (w *world) outage() {
	w.did["outage"]++
	before := map[*simNode]Claim{}
	for _, n := range w.nodes {
		before[n] = n.registrar.Condition().Claim
	}
	w.reg = nil
	w.after(20*time.Second+w.upTo(time.Minute), func() { w.start(false) })
	for over := w.now + 3*time.Minute; w.now < over; w.run(w.now + time.Second) {
		for _, n := range w.nodes {
			for of, claim := range before {
				if at, err := n.view.Rank(claim.Rank); of.lasting && (err != nil || at.Epoch != claim.Epoch) {
					w.fatalf("%s does not see %s any more: %v", n.id, of.id, err)
				}
			}
		}
	}
	for n, claim := range before {
		if now := n.registrar.Condition().Claim; (now == claim) != n.lasting {
			w.fatalf("%s is %+v, and was %+v; lasting: %v", n.id, now, claim, n.lasting)
		}
	}
	w.rest()
}

// rest ends all harm, and checks that everybody is registered, sees the same, and
// gets every lock.
func (w *world) rest() {
	w.calm = true
	for _, n := range w.nodes {
		n.cut = 0
	}
	w.run(w.now + 3*time.Minute)
	turns := map[*simNode]int{}
	for _, n := range w.nodes {
		turns[n] = n.turns
	}
	w.run(w.now + 4*time.Minute)
	w.reg.Advance(w.now)
	for _, n := range w.nodes {
		c := n.registrar.Condition()
		if c.Phase != Registered || int(c.Claim.Rank) >= 2*len(w.nodes) {
			w.fatalf("%s is %+v", n.id, c)
		}
		if n.view.Digest() != w.reg.Digest() || n.view.Version() != w.reg.Version(w.now) || len(n.view.Nodes()) != len(w.reg.byID) {
			w.fatalf("the view of %s is of version %#x with %d nodes, the registry of %#x with %d", n.id,
				n.view.Version(), len(n.view.Nodes()), w.reg.Version(w.now), len(w.reg.byID))
		}
		if n.turns == turns[n] {
			w.fatalf("%s gets no lock any more", n.id)
		}
	}
	if len(w.reg.byID) != len(w.nodes) {
		w.fatalf("%d nodes are registered, and there are %d", len(w.reg.byID), len(w.nodes))
	}
}
