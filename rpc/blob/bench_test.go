package blob

import "testing"

// BenchmarkAllocate is a blob's life: allocated, shared, freed.
func BenchmarkAllocate(b *testing.B) {
	w := newWorld(b, Config{})
	p := w.join("p")
	w.allocate(p, 1<<20, Read) // the segment is there
	b.ReportAllocs()
	for b.Loop() {
		h, _, err := w.Allocate(0, p, 64<<10, Read)
		if err == nil {
			_, err = w.Share(p, h, 0, h.Length, Read)
		}
		if err == nil {
			err = w.Free(0, p, h)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRuns is the allocator alone, in a segment where every second run is free.
func BenchmarkRuns(b *testing.B) {
	r := newRuns(1 << 16)
	for range 1 << 12 {
		r.take(16)
	}
	for first := 0; first < len(r.at); first += 32 {
		r.give(first)
	}
	b.ReportAllocs()
	for b.Loop() {
		if first, ok := r.take(16); ok {
			r.give(first)
		}
	}
}

// BenchmarkCall is what a call with one argument of each mode costs the table.
func BenchmarkCall(b *testing.B) {
	s := newScene(b)
	other := s.share(s.caller, s.allocate(s.caller, 64<<10, Read|Write), 0, 64<<10, Read|Write)
	args := []Arg{{Handle: s.lent, Mode: In}, {Handle: other, Mode: InOut}, {Handle: s.account, Mode: Out, Size: 100}}
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		call := Call{Seq: seq}
		if _, err := s.begin(call, s.callee, args...); err != nil {
			b.Fatal(err)
		}
		e := s.end(call, Succeeded, 10)
		if err := s.Free(0, s.caller, e.Results[0]); err != nil {
			b.Fatal(err)
		}
	}
}
