package session

// line is the calls of a peer that wait to be sent, first come first. Any of them
// may leave it at any time.
type line struct {
	head, tail *Invocation
	n          int
}

func (l *line) push(i *Invocation) {
	i.ahead, i.behind = l.tail, nil
	if l.tail == nil {
		l.head = i
	} else {
		l.tail.behind = i
	}
	l.tail = i
	l.n++
}

func (l *line) remove(i *Invocation) {
	if i.ahead == nil {
		l.head = i.behind
	} else {
		i.ahead.behind = i.behind
	}
	if i.behind == nil {
		l.tail = i.ahead
	} else {
		i.behind.ahead = i.ahead
	}
	i.ahead, i.behind = nil, nil
	l.n--
}

// pop takes the first, nil if there is none.
func (l *line) pop() *Invocation {
	i := l.head
	if i != nil {
		l.remove(i)
	}
	return i
}
