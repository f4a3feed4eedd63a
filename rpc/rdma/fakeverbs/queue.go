package fakeverbs

import (
	"bytes"
	"os"
	"syscall"
	"time"

	"rpcpool.dev/rpc/rdma/verbs"
)

type state int

const (
	initial state = iota
	connected
	failed
	gone
)

type queue struct {
	nic       *NIC
	options   verbs.QueueOptions
	number    uint32
	state     state
	path      verbs.Path
	under     []*read // in the order in which they began
	lost      []*read // that have ended, which nobody is told
	completed []verbs.Completion
	armed     bool
	event     chan struct{}
	waiting   int
}

// read is a READ under way.
type read struct {
	id      uint64
	into    []byte
	memory  *memory
	from    uint64
	key     uint32
	fate    Fate
	ended   bool // and completes when all before it have
	status  verbs.Status
	written bool
}

// NewQueue implements [verbs.Device].
func (d *device) NewQueue(o verbs.QueueOptions) (verbs.Queue, error) {
	defer d.lock()()
	if err := d.alive(); err != nil {
		return nil, err
	}
	if d.Queue != nil {
		return nil, d.Queue
	}
	d.fabric.serial++
	q := &queue{nic: d.NIC, options: o, number: d.fabric.serial & 0xffffff, event: make(chan struct{}, 1)}
	d.queues[q.number] = q
	return q, nil
}

func (q *queue) lock() func() {
	q.nic.fabric.mu.Lock()
	return q.nic.fabric.mu.Unlock
}

// Number implements [verbs.Queue].
func (q *queue) Number() uint32 { return q.number }

// Connect implements [verbs.Queue].
func (q *queue) Connect(p verbs.Path) error {
	defer q.lock()()
	switch {
	case q.nic.Connect != nil:
		return q.nic.Connect
	case q.state != initial, p.Index >= len(q.nic.GIDs):
		return syscall.EINVAL
	}
	q.state, q.path = connected, p
	if q.nic.Changed != nil {
		q.nic.Changed()
	}
	return nil
}

// Read implements [verbs.Queue].
func (q *queue) Read(id uint64, into []byte, m verbs.Memory, from uint64, key uint32) error {
	defer q.lock()()
	switch {
	case q.state == initial || q.state == gone:
		return syscall.EINVAL
	case len(q.under) >= q.options.Depth || len(q.under) >= q.path.Reads:
		return syscall.ENOMEM
	}
	q.nic.reads++
	r := &read{id: id, into: into, memory: m.(*memory), from: from, key: key}
	if q.nic.Judge != nil {
		r.fate = q.nic.Judge(Read{Number: q.nic.reads, Bytes: len(into)})
	}
	r.memory.under++
	q.under = append(q.under, r)
	switch {
	case q.state == failed:
		q.flush(r)
	case r.fate.Hangs:
	case r.fate.After > 0:
		time.AfterFunc(r.fate.After, func() { defer q.lock()(); q.perform(r) })
	default:
		q.perform(r)
	}
	return nil
}

// perform does a READ, unless the queue pair has failed meanwhile.
func (q *queue) perform(r *read) {
	if q.state != connected || r.ended {
		return
	}
	status, source := q.outcome(r)
	if status == verbs.RetriesExceeded && r.fate.Status == verbs.Success && r.fate.After == 0 {
		// Nobody answers: the device tries as often as it was told.
		r.fate.After = time.Duration(q.path.Retries+1) * (4096 * time.Nanosecond << q.path.Timeout)
		time.AfterFunc(r.fate.After, func() { defer q.lock()(); q.perform(r) })
		return
	}
	if status == verbs.Success {
		copy(r.into, source)
		r.written = true
	}
	q.end(r, status)
}

// outcome is how a READ ends, and what it reads.
func (q *queue) outcome(r *read) (verbs.Status, []byte) {
	if r.fate.Status != verbs.Success {
		return r.fate.Status, nil
	}
	if r.memory.nic != q.nic || r.memory.at(address(r.into), len(r.into), verbs.Sink) == nil {
		return verbs.LocalProtection, nil
	}
	peer := q.peer()
	if peer == nil {
		return verbs.RetriesExceeded, nil
	}
	source := peer.nic.served(r.from, r.key, len(r.into))
	switch {
	case peer.options.Rights&verbs.Source == 0:
		return verbs.RemoteRequest, nil
	case source == nil:
		return verbs.RemoteAccess, nil
	}
	return verbs.Success, source
}

// peer is the queue pair at the other end; nil if it cannot be reached.
func (q *queue) peer() *queue {
	if !q.nic.Port.Active {
		return nil
	}
	for _, n := range q.nic.fabric.nics {
		peer := n.queues[q.path.Number]
		if peer == nil || !n.Port.Active || peer.state != connected || peer.path.Number != q.number {
			continue
		}
		for _, gid := range n.GIDs {
			if gid == q.path.GID {
				return peer
			}
		}
	}
	return nil
}

// end lets a READ end, and all complete that have ended in turn.
func (q *queue) end(r *read, status verbs.Status) {
	r.ended, r.status = true, status
	for len(q.under) > 0 && q.under[0].ended && q.state != gone {
		first := q.under[0]
		q.under = q.under[1:]
		if first.fate.Lost {
			q.lost = append(q.lost, first) // under way, as far as anybody knows
			continue
		}
		first.memory.under--
		q.completed = append(q.completed, verbs.Completion{ID: first.id, Status: first.status, Vendor: uint32(first.status) << 4})
		if q.armed && !q.nic.Silent {
			q.armed = false
			select {
			case q.event <- struct{}{}:
			default:
			}
		}
		if first.status != verbs.Success && q.state == connected {
			q.fail()
		}
	}
}

func (q *queue) fail() {
	q.state = failed
	for _, r := range append([]*read{}, q.under...) {
		if !r.ended {
			q.flush(r)
		}
	}
}

// flush ends a READ of a queue pair in ERR. What a READ that hangs has on its way still
// is written before.
func (q *queue) flush(r *read) {
	if r.fate.Late == 0 {
		q.end(r, verbs.Flushed)
		return
	}
	time.AfterFunc(r.fate.Late, func() {
		defer q.lock()()
		if q.state == gone || r.ended {
			return
		}
		r.scribble()
		q.end(r, verbs.Flushed)
	})
}

// scribble writes something, as a device may do until it says that it has ended.
func (r *read) scribble() {
	copy(r.into, bytes.Repeat([]byte{0xdd}, len(r.into)))
}

// Poll implements [verbs.Queue].
func (q *queue) Poll(out []verbs.Completion) (int, error) {
	defer q.lock()()
	q.use("polled")
	if q.nic.Poll != nil {
		return 0, q.nic.Poll
	}
	n := copy(out, q.completed)
	q.completed = q.completed[n:]
	return n, nil
}

// Arm implements [verbs.Queue].
func (q *queue) Arm() error {
	defer q.lock()()
	q.use("armed")
	q.armed = true
	return nil
}

// Wait implements [verbs.Queue].
func (q *queue) Wait(deadline time.Time) error {
	q.await(1)
	defer q.await(-1)
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-q.event:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

func (q *queue) await(n int) {
	defer q.lock()()
	q.use("waited for")
	q.waiting += n
}

// use notes a violation, if the queue pair is destroyed: a real one is no memory any more.
func (q *queue) use(how string) {
	if q.state == gone && !q.nic.dead {
		q.nic.fabric.violate("queue pair %d is %s after it was destroyed", q.number, how)
	}
}

// Fail implements [verbs.Queue].
func (q *queue) Fail() error {
	defer q.lock()()
	q.use("put into ERR")
	if q.nic.Fail != nil {
		return q.nic.Fail
	}
	if q.state != gone {
		q.fail()
	}
	return nil
}

// Close implements [verbs.Queue].
func (q *queue) Close() error {
	defer q.lock()()
	if q.nic.Destroy != nil {
		return q.nic.Destroy
	}
	if q.state == gone && !q.nic.dead {
		q.nic.fabric.violate("queue pair %d is closed twice", q.number)
		return syscall.EINVAL
	}
	if q.waiting > 0 {
		q.nic.fabric.violate("queue pair %d is destroyed while somebody waits for it", q.number)
	}
	q.state = gone
	for _, r := range append(q.under, q.lost...) {
		r.memory.under--
	}
	q.under, q.lost = nil, nil
	delete(q.nic.queues, q.number)
	return nil
}
