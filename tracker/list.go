package tracker

// fifo is a list whose values leave from the front or, in constant time, from
// anywhere: a value holds its own node.
type fifo[T any] struct {
	head, tail *node[T]
	n          int
}

// node is a value's place in a [fifo]. It is in at most one list at a time.
type node[T any] struct {
	value      T
	prev, next *node[T]
}

func (l *fifo[T]) pushBack(n *node[T]) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.n++
}

// remove takes n, which must be in this list, out of it.
func (l *fifo[T]) remove(n *node[T]) {
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
	l.n--
}

// front returns the oldest value, or the zero value of an empty list.
func (l *fifo[T]) front() (v T) {
	if l.head != nil {
		v = l.head.value
	}
	return v
}
