package server

import (
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
)

// freed counts what is given back.
type freed int

func (f *freed) Release() { *f++ }

// TestAClientHasItsTimeToReadWhatItHasAskedFor: readAfter and what its bytes take at readPace, for each
// result; and then it is closed, if somebody waits for room.
func TestAClientHasItsTimeToReadWhatItHasAskedFor(t *testing.T) {
	const second = readPace
	for name, c := range map[string]struct {
		play   func(o func(n int) *Owed, pass func(time.Duration))
		free   bool // there is room
		closed bool
	}{
		"reads nothing":              {play: func(o func(int) *Owed, pass func(time.Duration)) { o(second); pass(22 * time.Second) }, closed: true},
		"reads nothing, not so long": {play: func(o func(int) *Owed, pass func(time.Duration)) { o(second); pass(20 * time.Second) }},
		"nobody waits":               {play: func(o func(int) *Owed, pass func(time.Duration)) { o(second); pass(time.Hour) }, free: true},
		"reads in time": {play: func(o func(int) *Owed, pass func(time.Duration)) {
			for range 10 {
				one := o(second)
				pass(20 * time.Second)
				one.Release()
			}
		}},
		"reads all but one": {play: func(o func(int) *Owed, pass func(time.Duration)) {
			o(second)
			for range 3 {
				one := o(second)
				pass(10 * time.Second)
				one.Release()
			}
		}, closed: true},
		"has much to read": {play: func(o func(int) *Owed, pass func(time.Duration)) {
			o(100 * second)
			o(1)
			pass(119 * time.Second)
		}},
		"has had much to read": {play: func(o func(int) *Owed, pass func(time.Duration)) {
			o(100 * second)
			o(1)
			pass(122 * time.Second)
		}, closed: true},
	} {
		t.Run(name, func(t *testing.T) {
			room := conn.NewRoom(1 << 20)
			if !c.free && !room.Spare(1<<20) {
				t.Fatal("it is not as large as it was made")
			}
			var (
				closed bool
				now    time.Time
				at     time.Time
				look   func()
				back   freed
			)
			d := &Debt{}
			d.init(&Core{opts: Options{Room: room, ReadAfter: readAfter}}, func() { closed = true })
			d.now = func() time.Time { return now }
			d.after = func(in time.Duration, f func()) *time.Timer {
				at, look = now.Add(in), f
				return time.NewTimer(time.Hour)
			}
			c.play(func(n int) *Owed { return d.Owe(&back, n) }, func(took time.Duration) {
				end := now.Add(took)
				for look != nil && !at.After(end) {
					f := look
					now, look = at, nil
					f()
				}
				now = end
			})
			if closed != c.closed {
				t.Errorf("the client is closed: %t", closed)
			}
		})
	}
}
