// Package fifo is the queue of those who wait their turn and may give up at any time:
// a list whose values leave from the front or, in constant time, from anywhere. Nothing
// is allocated: a value holds its own node. It is not safe for concurrent use.
package fifo

// List is a list of values; the zero value is empty.
type List[T any] struct {
	head, tail *Node[T]
	n          int
}

// Node is a value's place in a [List]. It is in at most one list at a time.
type Node[T any] struct {
	Value      T
	prev, next *Node[T]
}

// Next is the node behind n, nil if n is the last.
func (n *Node[T]) Next() *Node[T] { return n.next }

// Prev is the node before n, nil if n is the first.
func (n *Node[T]) Prev() *Node[T] { return n.prev }

// Len is the number of values.
func (l *List[T]) Len() int { return l.n }

// Head is the first node, nil if the list is empty.
func (l *List[T]) Head() *Node[T] { return l.head }

// PushBack puts n, which must be in no list, behind all others.
func (l *List[T]) PushBack(n *Node[T]) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.n++
}

// Remove takes n, which must be in this list, out of it.
func (l *List[T]) Remove(n *Node[T]) {
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

// Front returns the oldest value, or the zero value of an empty list.
func (l *List[T]) Front() (v T) {
	if l.head != nil {
		v = l.head.Value
	}
	return v
}

// Pop takes the oldest value out, and returns it, or the zero value of an empty list.
func (l *List[T]) Pop() (v T) {
	if n := l.head; n != nil {
		v = n.Value
		l.Remove(n)
	}
	return v
}
