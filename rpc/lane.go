package rpc

import "context"

// turn is a call's place in a lane within the process. A nil turn is that of a call in no lane.
type turn struct {
	local  *Local
	lane   uint64
	before <-chan struct{} // closed when all calls before it have ended; nil: there are none
	over   chan struct{}   // closed when it has ended, too
}

// join puts a call behind all others of a lane.
func (l *Local) join(lane uint64) *turn {
	if lane == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &turn{local: l, lane: lane, over: make(chan struct{})}
	if last := l.lanes[lane]; last != nil {
		t.before = last.over
	}
	if l.lanes == nil {
		l.lanes = map[uint64]*turn{}
	}
	l.lanes[lane] = t
	return t
}

// wait returns when it is the call's turn, or ctx has ended.
func (t *turn) wait(ctx context.Context) error {
	if t == nil || t.before == nil {
		return nil
	}
	select {
	case <-t.before:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
}

// leave says that the call has ended, be it before its turn.
func (t *turn) leave() {
	if t == nil {
		return
	}
	select {
	case <-t.before:
	default:
		if t.before != nil { // it has given up: the next waits for those before it
			go t.pass()
			return
		}
	}
	t.pass()
}

func (t *turn) pass() {
	if t.before != nil {
		<-t.before
	}
	t.local.mu.Lock()
	if t.local.lanes[t.lane] == t {
		delete(t.local.lanes, t.lane)
	}
	t.local.mu.Unlock()
	close(t.over)
}
