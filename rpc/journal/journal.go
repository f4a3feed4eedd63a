package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"time"
)

// Stats are what there is in a journal, and what was done since it was opened.
type Stats struct {
	Records     int    // in the list
	Used        uint64 // bytes of the list
	Limit       uint64 // bytes that the list may have
	Appended    uint64 // records
	Full        uint64 // appends that were refused with ErrFull
	Compactions uint64
	Syncs       uint64
}

// Journal is an open journal. Its methods may be called by several goroutines.
type Journal struct {
	path     string
	id       [16]byte
	life     uint32
	file     *file
	policy   Policy
	interval time.Duration
	sync     func() error
	dirty    chan struct{} // there is something to sync
	stop     chan struct{}
	syncer   sync.WaitGroup
	close    func() error

	mu      sync.Mutex
	ring    *ring
	err     error         // of all that comes
	durable uint64        // position up to which the disk has it
	news    chan struct{} // closed when err or durable changes
	stats   Stats
}

// leave ends an access to the mapping. If that has failed, because the file is
// shorter than it was or its disk cannot be read, the journal is broken.
func (j *Journal) leave(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch r := recover().(type) {
	case nil:
	case interface {
		error
		Addr() uintptr
	}:
		if !j.file.has(r.Addr()) {
			panic(r)
		}
		*err = j.fail(fmt.Errorf("its file was cut, or cannot be read: %w", r))
	default:
		panic(r)
	}
}

// fail breaks the journal.
func (j *Journal) fail(cause error) error {
	if j.err == nil {
		j.err = fmt.Errorf("%w: %s: %w", ErrBroken, j.path, cause)
		j.tell()
	}
	return j.err
}

func (j *Journal) tell() {
	close(j.news)
	j.news = make(chan struct{})
}

// ID is the identity of the file: 128 random bits, made with it.
func (j *Journal) ID() [16]byte { return j.id }

// Life counts how often the file was opened.
func (j *Journal) Life() uint32 { return j.life }

// Fits tells whether the ring is as long as one that would be made of so many bytes: a file
// that was there keeps its size.
func (j *Journal) Fits(size int64) bool { return int64(j.ring.size) == rounded(size) }

// Size is how many bytes the ring has.
func (j *Journal) Size() int64 { return int64(j.ring.size) }

// Room is how many bytes the list may grow before it is full.
func (j *Journal) Room() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return 0
	}
	return j.ring.room()
}

// Stats returns what there is, and what was done.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Records, s.Used, s.Limit = j.ring.count, j.ring.head-j.ring.start, j.ring.limit
	return s
}

// Append makes the list longer by a record, which may be given in parts. When it
// returns, the record survives the process; what it returns is to be given to Wait
// if it has to survive more. Errors: ErrFull and ErrTooLarge, with which nothing
// was written; ErrBroken, ErrClosed.
func (j *Journal) Append(record ...[]byte) (end uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return 0, j.err
	}
	defer j.leave(debug.SetPanicOnFault(true), &err)
	if err := j.ring.append(record); err != nil {
		if errors.Is(err, ErrFull) {
			j.stats.Full++
		}
		return 0, err
	}
	j.stats.Appended++
	if j.policy != Process {
		select {
		case j.dirty <- struct{}{}:
		default:
		}
	}
	return j.ring.head, nil
}

// Compact replaces the list by records, as one step: after a crash, it is one or
// the other. A slice may be used again for the next record. The journal is locked
// meanwhile. When Compact returns, the records are as durable as the policy says.
// Errors: ErrFull and ErrTooLarge, with which the list is what it was; ErrBroken,
// ErrClosed.
func (j *Journal) Compact(records iter.Seq[[]byte]) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	defer j.leave(debug.SetPanicOnFault(true), &err)
	end, count, err := j.ring.stage(records)
	if err != nil {
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	j.ring.commit(end, count)
	if err := j.flush(); err != nil {
		return err
	}
	j.stats.Compactions++
	if j.policy != Process {
		j.settle(end)
	}
	return nil
}

// Records yields the list, from its begin to where its end is when that is reached.
// A slice is good until the next one. After an error there are no more. The list
// must not be compacted meanwhile.
func (j *Journal) Records() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		j.mu.Lock()
		start := j.ring.start
		j.mu.Unlock()
		var record []byte
		for pos := start; ; {
			b, next, err := j.read(start, pos, record[:0])
			switch {
			case err != nil:
				yield(nil, fmt.Errorf("journal %s: %w", j.path, err))
				return
			case next == pos || !yield(b, nil):
				return
			}
			record, pos = b, next
		}
	}
}

// read is one step of Records. At the end of the list, the next position is the same.
func (j *Journal) read(start, pos uint64, b []byte) (_ []byte, next uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return nil, 0, j.err
	case j.ring.start != start:
		return nil, 0, errors.New("compacted while it was read")
	case pos == j.ring.head:
		return nil, pos, nil
	}
	defer j.leave(debug.SetPanicOnFault(true), &err)
	return j.ring.read(pos, b)
}

// Wait returns when all that was appended up to end is as durable as the policy
// says: with Process that is at once. Errors: the context's; ErrBroken and ErrClosed
// if it will not be any more.
func (j *Journal) Wait(ctx context.Context, end uint64) error {
	for {
		j.mu.Lock()
		durable, err, news := j.durable, j.err, j.news
		j.mu.Unlock()
		switch {
		case j.policy == Process || durable >= end:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close makes all durable, and gives the file back. Its error says that the next Open
// may find less than was appended, if the machine dies before.
func (j *Journal) Close() error { return j.close() }
