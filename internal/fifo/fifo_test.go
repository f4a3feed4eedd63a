package fifo

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAListIsASlice plays a list against the slice that it stands for.
func TestAListIsASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l List[int]
		var model []*Node[int]
		for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 3).Draw(t, "step"); {
			case step <= 1 || len(model) == 0:
				n := &Node[int]{Value: i + 1}
				l.PushBack(n)
				model = append(model, n)
			case step == 2:
				at := rapid.IntRange(0, len(model)-1).Draw(t, "at")
				l.Remove(model[at])
				model = slices.Delete(model, at, at+1)
			default:
				if v := l.Pop(); v != model[0].Value {
					t.Fatalf("popped %d, want %d", v, model[0].Value)
				}
				model = model[1:]
			}
			var got []*Node[int]
			for n := l.Head(); n != nil; n = n.Next() {
				if i := len(got); i > 0 && n.Prev() != got[i-1] || i == 0 && n.Prev() != nil {
					t.Fatalf("before value %d is another", n.Value)
				}
				got = append(got, n)
			}
			front := 0
			if len(model) > 0 {
				front = model[0].Value
			}
			if !slices.Equal(got, model) || l.Len() != len(model) || l.Front() != front {
				t.Fatalf("%d values, front %d; want %d, %d", len(got), l.Front(), len(model), front)
			}
		}
		for range len(model) {
			l.Pop()
		}
		if v := l.Pop(); v != 0 || l.Len() != 0 {
			t.Fatalf("an empty list of %d has %d", l.Len(), v)
		}
	})
}
