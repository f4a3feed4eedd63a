package tracker

import (
	"container/heap"
	"time"

	"rpcpool.dev/internal/fifo"
)

// request is one client's wait for one device.
type request struct {
	node     fifo.Node[*request] // its place in lane
	lane     *lane
	from     *peer
	index    int // its place in from.requests
	queue    *queue
	user     string
	priority float64
	seq      uint64 // arrival
	since    time.Time
}

// queue pairs the requests and the free devices of one device key.
//
// Requests are served by priority, then by arrival; devices in the order in
// which they became free. With fair share, requests of one priority are served
// by source: first the source that holds the fewest devices now, then the one
// that was served longest ago, then by arrival.
//
// It is pure: it has no clock and starts nothing. Everything is O(log n).
type queue struct {
	key     string
	fair    bool
	free    fifo.List[*offer]
	waiting int

	lanes   laneHeap
	byLane  map[laneKey]*lane
	sources map[string]*source // with fair share only
	all     source             // the one source without it
	served  uint64             // counts grants

	offers    int     // of this key that are not gone, granted ones included
	homes     []*peer // native servers of this key, whether they offer or not
	offered   bool    // has ever had an offer or a home
	touched   bool    // is in registry.touched
	lingering *fifo.Node[*queue]
	until     time.Time // end of lingering
}

// laneKey names a lane.
type laneKey struct {
	priority float64
	source   string
}

// lane holds the requests of one priority and one source, by arrival.
type lane struct {
	key      laneKey
	source   *source
	requests fifo.List[*request]
	index    int // in the heap
	slot     int // in source.lanes
}

// source is where requests come from, as far as fair share is concerned.
type source struct {
	name   string
	held   int    // devices that were granted to it and are not back yet
	served uint64 // when it was last served, by the queue's count of grants
	lanes  []*lane
}

func newQueue(key string, fair bool) *queue { return &queue{key: key, fair: fair} }

// push adds a request of the named source.
func (q *queue) push(r *request, from string) {
	s := q.source(from)
	key := laneKey{r.priority, s.name}
	l := q.byLane[key]
	if l == nil {
		l = q.newLane(key, s)
	}
	r.node.Value, r.lane, r.queue = r, l, q
	l.requests.PushBack(&r.node)
	q.waiting++
	if l.requests.Len() == 1 {
		heap.Push(&q.lanes, l)
	}
}

// remove takes out a request that waits.
func (q *queue) remove(r *request) {
	l := r.lane
	l.requests.Remove(&r.node)
	r.lane = nil
	q.waiting--
	if l.requests.Len() > 0 {
		heap.Fix(&q.lanes, l.index)
		return
	}
	heap.Remove(&q.lanes, l.index)
	delete(q.byLane, l.key)
	l.source.dropLane(l)
	q.forget(l.source)
}

// best returns the request that is to be served next, nil if none waits.
func (q *queue) best() *request {
	if len(q.lanes) == 0 {
		return nil
	}
	return q.lanes[0].requests.Front()
}

// take notes that a source is given a device, and returns the source.
func (q *queue) take(from string) *source {
	if !q.fair {
		return &q.all // nothing is compared, so nothing is counted
	}
	s := q.source(from)
	q.served++
	s.held++
	s.served = q.served
	q.reorder(s)
	return s
}

// giveBack notes that a source no longer holds a device that it took.
func (q *queue) giveBack(s *source) {
	if !q.fair {
		return
	}
	s.held--
	q.reorder(s)
	q.forget(s)
}

// each calls visit with the requests in the order of service as it stands,
// until visit returns false.
func (q *queue) each(visit func(*request) bool) {
	lanes := make(laneHeap, len(q.lanes))
	for i, l := range q.lanes { // copies: popping a lane writes its index
		c := *l
		lanes[i] = &c
	}
	for len(lanes) > 0 {
		l, _ := heap.Pop(&lanes).(*lane)
		for n := l.requests.Head(); n != nil; n = n.Next() {
			if !visit(n.Value) {
				return
			}
		}
	}
}

// idle tells whether nothing depends on the queue.
func (q *queue) idle() bool {
	return q.waiting == 0 && q.offers == 0 && len(q.homes) == 0
}

func (q *queue) source(name string) *source {
	if !q.fair {
		return &q.all
	}
	s := q.sources[name]
	if s == nil {
		s = &source{name: name}
		if q.sources == nil {
			q.sources = map[string]*source{}
		}
		q.sources[name] = s
	}
	return s
}

// newLane makes a lane. It is to be given its first request, and then its place
// in the heap, at once.
func (q *queue) newLane(key laneKey, s *source) *lane {
	l := &lane{key: key, source: s, slot: len(s.lanes)}
	if q.byLane == nil {
		q.byLane = map[laneKey]*lane{}
	}
	q.byLane[key] = l
	s.lanes = append(s.lanes, l)
	return l
}

func (q *queue) reorder(s *source) {
	for _, l := range s.lanes {
		heap.Fix(&q.lanes, l.index)
	}
}

// forget drops a source that neither waits nor holds anything.
func (q *queue) forget(s *source) {
	if q.fair && s.held == 0 && len(s.lanes) == 0 {
		delete(q.sources, s.name)
	}
}

func (s *source) dropLane(l *lane) {
	last := len(s.lanes) - 1
	moved := s.lanes[last]
	moved.slot = l.slot
	s.lanes[l.slot], s.lanes[last] = moved, nil
	s.lanes = s.lanes[:last]
}

// laneHeap is a heap of lanes, the next to be served first.
type laneHeap []*lane

func (h laneHeap) Len() int { return len(h) }

func (h laneHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.key.priority != b.key.priority {
		return a.key.priority > b.key.priority
	}
	if a.source.held != b.source.held {
		return a.source.held < b.source.held
	}
	if a.source.served != b.source.served {
		return a.source.served < b.source.served
	}
	return a.requests.Front().seq < b.requests.Front().seq
}

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *laneHeap) Push(x any) {
	l, _ := x.(*lane)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop implements [heap.Interface].
func (h *laneHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}
