package conn

import "sync/atomic"

// closing is the bit of a hold that says that no more references are given.
const closing = 1 << 31

// hold counts the references to a connection, in one word with the bit that says
// that it is being closed.
type hold struct{ word atomic.Uint32 }

// acquire takes a reference, unless the connection is being closed. first tells
// that it is the only one.
func (h *hold) acquire() (ok, first bool) {
	for {
		was := h.word.Load()
		if was&closing != 0 {
			return false, false
		}
		if h.word.CompareAndSwap(was, was+1) {
			return true, was == 0
		}
	}
}

// release gives a reference back. last tells that there is none left, and shut
// that the connection was only waiting for that.
func (h *hold) release() (last, shut bool) {
	now := h.word.Add(^uint32(0))
	return now&^closing == 0, now == closing
}

// shut lets nobody acquire any more. It tells whether it was the first to do so,
// and whether references are left.
func (h *hold) shut() (first, held bool) {
	was := h.word.Or(closing)
	return was&closing == 0, was&^closing != 0
}

// reap is shut, but only if there are no references.
func (h *hold) reap() bool { return h.word.CompareAndSwap(0, closing) }

// held returns the number of references.
func (h *hold) held() int { return int(h.word.Load() &^ closing) }
