package sim

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"rpcpool.dev/rpc/session"
)

// store is a key-value store that outlives its servers: whatever is missing or
// doubled in it was missed or doubled by the calls. Appending is not idempotent,
// reading is.
type store struct {
	values map[int]string
	ops    map[*call]op
}

type op struct {
	key  int
	get  bool
	word string // what is appended
}

func (s *store) call(r *run, c *call) {
	o := op{key: r.w.rng.IntN(2), get: r.w.one(3), word: fmt.Sprintf("%d.", c.id)}
	c.once = !o.get
	s.ops[c] = o
}

func (s *store) run(c *call) []byte {
	o := s.ops[c]
	if !o.get {
		s.values[o.key] += o.word
	}
	return append(encode(c.id), s.values[o.key]...)
}

func (s *store) reply(c *call, b []byte) bool { return len(b) >= 8 && decode(b[:8]) == c.id }

// history is what the programs have seen. What may have happened, may happen at
// any time from when it was called. If nobody has seen it, it may have happened after
// all that was seen, and proves nothing.
func (s *store) history(r *run) []porcupine.Operation {
	seen := map[string]bool{}
	for _, c := range r.truth.calls {
		if !c.orphan && c.inv.Outcome.Code == session.OK {
			for word := range strings.SplitAfterSeq(string(c.inv.Outcome.Reply[8:]), ".") {
				seen[word] = true
			}
		}
	}
	var ops []porcupine.Operation
	for _, c := range r.truth.calls {
		o := s.ops[c]
		known := !c.orphan && c.inv.Outcome.Code == session.OK
		did := porcupine.Operation{ClientId: c.id, Input: o, Call: int64(c.issued), Return: math.MaxInt64}
		switch {
		case known:
			did.Output, did.Return = string(c.inv.Outcome.Reply[8:]), int64(c.finished)
		case o.get || !seen[o.word] || !c.orphan && c.inv.Outcome.Execution == session.NotExecuted:
			continue
		}
		ops = append(ops, did)
	}
	return ops
}

// keyValue is the store as it would be if there were one program and no network.
var keyValue = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, 2)
		for _, o := range all {
			key := o.Input.(op).key
			parts[key] = append(parts[key], o)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		value, o := state.(string), input.(op)
		if !o.get {
			value += o.word
		}
		return output == nil || output == value, value
	},
}

// playStore plays a schedule of the store. To see that a history is none can take
// very long: most is how long it may.
func playStore(seed uint64, m Mutant, most time.Duration) (porcupine.CheckResult, []string) {
	s := &store{values: map[int]string{}, ops: map[*call]op{}}
	r := newRun(Schedule{Seed: seed}, m, s, nil, new(Coverage))
	r.play()
	return porcupine.CheckOperationsTimeout(keyValue, s.history(r), most), r.truth.broken
}

func TestS3_12_KeyValueStoreIsLinearizable(t *testing.T) {
	for seed := *first; seed < *first+many(1000); seed++ {
		if got, broken := playStore(seed, Mutant{}, time.Minute); got != porcupine.Ok || len(broken) > 0 {
			t.Fatalf("seed %d: %s; %s", seed, got, strings.Join(broken, "; "))
		}
	}
}

// If calls run twice, it is seen.
func TestKeyValueStoreSeesMutants(t *testing.T) {
	skipRaced(t)
	for _, m := range append(journalMutants(), serverMutants()[0]) {
		found := uint64(0)
		for seed := uint64(1); seed <= 1000 && found == 0; seed++ {
			if got, _ := playStore(seed, m, 50*time.Millisecond); got == porcupine.Illegal {
				found = seed
			}
		}
		if found == 0 {
			t.Errorf("%s: not seen", m.Name)
		}
	}
}
