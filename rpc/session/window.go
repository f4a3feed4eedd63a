package session

// window holds values by sequence number. Sequence numbers come nearly in order
// and go nearly in order: it is a sorted queue, in which adding at the end,
// taking from the front and finding are a few instructions while there are no
// gaps. What is deleted elsewhere leaves a hole; when half are holes they go.
type window[T any] struct {
	slots []slot[T] // from head on ascending; the first is no hole
	head  int
	live  int
}

type slot[T any] struct {
	seq   uint64
	value *T // nil: a hole
}

// first returns the lowest sequence number, 0 if there is none.
func (w *window[T]) first() uint64 {
	if w.live == 0 {
		return 0
	}
	return w.slots[w.head].seq
}

func (w *window[T]) get(seq uint64) *T {
	if i, found := w.search(seq); found {
		return w.slots[i].value
	}
	return nil
}

// search returns where seq is, or where it would have to be put.
func (w *window[T]) search(seq uint64) (int, bool) {
	lo, hi := w.head, len(w.slots)
	if lo == hi || seq > w.slots[hi-1].seq {
		return hi, false
	}
	first := w.slots[lo].seq
	if seq <= first {
		return lo, seq == first
	}
	if n := seq - first; n < uint64(hi-lo) {
		if i := lo + int(n); w.slots[i].seq == seq {
			return i, true
		}
	}
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); w.slots[mid].seq < seq {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, w.slots[lo].seq == seq
}

// put adds a value. Its sequence number must not be there, but for as a hole.
func (w *window[T]) put(seq uint64, value *T) {
	if len(w.slots) == cap(w.slots) && w.head > len(w.slots)/2 {
		w.compact()
	}
	w.live++
	i, found := w.search(seq)
	if found {
		w.slots[i].value = value
		return
	}
	w.slots = append(w.slots, slot[T]{})
	copy(w.slots[i+1:], w.slots[i:])
	w.slots[i] = slot[T]{seq, value}
}

// del removes the value of seq, if there is one.
func (w *window[T]) del(seq uint64) {
	i, found := w.search(seq)
	if !found || w.slots[i].value == nil {
		return
	}
	w.slots[i].value = nil
	w.live--
	if w.live == 0 {
		w.slots, w.head = w.slots[:0], 0
		return
	}
	for w.slots[w.head].value == nil {
		w.head++
	}
	if n := len(w.slots) - w.head; n > 32 && w.live < n/2 {
		w.compact()
	}
}

// compact moves what is left to the beginning, without the holes. Holes that
// follow the last value may stay.
func (w *window[T]) compact() {
	kept := w.slots[:0]
	for _, s := range w.slots[w.head:] {
		if s.value != nil {
			kept = append(kept, s)
		}
	}
	clear(w.slots[len(kept):])
	w.slots, w.head = kept, 0
}

// all calls visit with every value, ascending. visit may delete that value.
func (w *window[T]) all(visit func(seq uint64, value *T)) {
	for next := w.first(); next != 0 && w.live > 0; {
		i, _ := w.search(next)
		for i < len(w.slots) && w.slots[i].value == nil {
			i++
		}
		if i == len(w.slots) {
			return
		}
		next = w.slots[i].seq + 1
		visit(w.slots[i].seq, w.slots[i].value)
	}
}
