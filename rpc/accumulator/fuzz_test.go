package accumulator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// samples has something of every type.
func samples() map[string]Aggregator {
	var timer Timer
	timer.Observe(-time.Millisecond)
	timer.Observe(0)
	timer.Observe(time.Hour)
	var avg Avg
	avg.Add(-1.5)
	var most Max
	most.Add(-1e300)
	return map[string]Aggregator{
		TypeSum: &Sum{wide{1, 2}}, TypeFloatSum: &FloatSum{1, 1e-20}, TypeAvg: &avg,
		TypeMax: &most, TypeMin: &Min{}, TypeTimer: &timer,
	}
}

func FuzzPush(f *testing.F) {
	var entries [][]byte
	for typ, a := range samples() {
		e := entryOf("x-"+typ, typ, a, Label{"node", "ü"}, Label{"zone", ""})
		entries = append(entries, e)
		f.Add(batchOf(ID{1}, 1, e))
	}
	f.Add(batchOf(ID{2}, 7, entries...))
	f.Add(batchOf(ID{3}, 1, entryOf("x", TypeSum, &Sum{}), entryOf("x", TypeMax, &Max{})))
	f.Add(batchOf(ID{4}, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer(t, ServerOptions{MaxSeries: 3})
		first := s.Push(t.Context(), b)
		if first != nil && !errors.Is(first, ErrRejected) {
			t.Fatalf("%v is not the last word", first)
		}
		counts := s.Counts()
		if counts.Series > 3 || counts.Merged+counts.Refused != 1 {
			t.Fatalf("%+v", counts)
		}
		before, _ := s.Snapshot()
		if again := s.Push(t.Context(), b); (again == nil) != (first == nil) {
			t.Fatalf("%v, and again: %v", first, again)
		}
		restored := newServer(t, ServerOptions{})
		if err := restored.Restore(before); err != nil {
			t.Fatalf("what was merged is not restored: %v", err)
		}
		h, parsed, err := parseBatch(b)
		if err != nil {
			return
		}
		out := newBatch(h.id, h.number)
		binary.LittleEndian.PutUint32(out.bytes[atAge:], uint32(h.age.Milliseconds()))
		for _, e := range parsed {
			out.add(appendBytes(appendEntry(nil, e.name, e.typ, e.labels), e.state))
		}
		if !bytes.Equal(out.bytes, b) {
			t.Fatalf("% x\nbecame\n% x", b, out.bytes)
		}
	})
}

func FuzzState(f *testing.F) {
	for typ, a := range samples() {
		b, _ := a.AppendBinary(nil)
		f.Add(typ, b)
	}
	huge, _ := (&Avg{count: 1<<64 - 1}).AppendBinary(nil)
	f.Add(TypeAvg, huge)
	f.Fuzz(func(t *testing.T, typ string, b []byte) {
		a, err := builtin().decode(typ, b)
		if err != nil {
			return
		}
		again, err := a.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%s: % x became % x: %v", typ, b, again, err)
		}
		total := builtin()[typ]()
		if err := errors.Join(total.Merge(a), total.Merge(a)); err != nil && !errors.Is(err, ErrLimit) {
			t.Fatal(err)
		}
		if timer, ok := total.(*Timer); ok {
			timer.Stats(time.Second)
		}
	})
}

func FuzzRestore(f *testing.F) {
	s := newServer(f, ServerOptions{})
	f.Add(snapshot(f, s))
	var entries [][]byte
	for typ, a := range samples() {
		entries = append(entries, entryOf("x-"+typ, typ, a, Label{"node", "1"}))
	}
	s.Push(f.Context(), batchOf(ID{1}, 3, append(entries, entryOf("x-sum", TypeMax, &Max{}))...))
	f.Add(snapshot(f, s))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer(t, ServerOptions{})
		if s.Restore(b) != nil {
			return
		}
		again := newServer(t, ServerOptions{})
		if err := again.Restore(snapshot(t, s)); err != nil {
			t.Fatal(err)
		}
		if a, b := s.Counts(), again.Counts(); a != b {
			t.Fatalf("%+v became %+v", a, b)
		}
	})
}

func snapshot(t testing.TB, s *Server) []byte {
	t.Helper()
	b, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
