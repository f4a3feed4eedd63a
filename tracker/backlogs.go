package tracker

import (
	"errors"
	"sync"
)

// maxBacklogs bounds what all peers together leave unread, in bytes. A summary
// is many times as long as the frame that asks for it.
const maxBacklogs = 256 << 20

var errBacklogs = errors.New("peers leave too much unread, and this one most")

// backlogs accounts for the backlogs of all outboxes. Its lock is taken inside
// an outbox's, never the other way round.
type backlogs struct {
	mu    sync.Mutex
	most  int64
	total int64
	boxes map[*outbox]int64 // bytes of those that have a backlog and are to keep it
}

func newBacklogs(most int64) *backlogs {
	return &backlogs{most: most, boxes: map[*outbox]int64{}}
}

// add accounts for n bytes more of box. It returns the outboxes that are to be
// closed for it: those with the largest backlogs, so that whoever reads loses
// nothing by those who do not.
func (a *backlogs) add(box *outbox, n int) (victims []*outbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.boxes[box] += int64(n)
	a.total += int64(n)
	for a.total > a.most {
		var largest *outbox
		for b, held := range a.boxes {
			if largest == nil || held > a.boxes[largest] {
				largest = b
			}
		}
		a.dropLocked(largest)
		victims = append(victims, largest)
	}
	return victims
}

// sub accounts for n bytes of box that are written.
func (a *backlogs) sub(box *outbox, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if held := a.boxes[box]; held > int64(n) {
		a.boxes[box] -= int64(n)
		a.total -= int64(n)
		return
	}
	a.dropLocked(box)
}

// drop accounts for a backlog that is gone.
func (a *backlogs) drop(box *outbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropLocked(box)
}

func (a *backlogs) dropLocked(box *outbox) {
	a.total -= a.boxes[box]
	delete(a.boxes, box)
}

// held returns how many bytes peers leave unread.
func (a *backlogs) held() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}
