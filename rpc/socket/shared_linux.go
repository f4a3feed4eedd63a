package socket

import (
	"sync/atomic"
	"time"
)

// Users are those who use what is to be there until the last of them is done with it: its owner, and each call
// that is under way.
type Users struct{ n atomic.Int32 }

// Open makes the owner the only user.
func (u *Users) Open() { u.n.Store(1) }

// Use is to be followed by Done, if it returns true. It does not when the last has been done.
func (u *Users) Use() bool {
	for {
		n := u.n.Load()
		if n == 0 {
			return false
		}
		if u.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Done tells whether the caller was the last.
func (u *Users) Done() (last bool) { return u.n.Add(-1) == 0 }

// Deadline is a time, in ns after something was born, by a clock that nobody sets; 0: none.
type Deadline struct{ at atomic.Int64 }

// Set takes a time; zero: none.
func (d *Deadline) Set(t, born time.Time) {
	at := int64(0)
	if !t.IsZero() {
		at = int64(max(t.Sub(born), 1))
	}
	d.at.Store(at)
}

// Over tells whether it has passed.
func (d *Deadline) Over(born time.Time) bool {
	at := d.at.Load()
	return at != 0 && int64(time.Since(born)) >= at
}
