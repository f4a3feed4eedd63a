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

// Policy says how much a record has to survive, once Wait has returned for it.
type Policy uint8

const (
	// Process is the death of the process. Only Open and Close sync.
	Process Policy = iota
	// Batch is the death of the machine. What is appended within an interval shares a sync.
	Batch
	// Each is the death of the machine. A sync starts as soon as the last one has ended.
	Each
)

// String is the name, as in configurations.
func (p Policy) String() string {
	if p > Each {
		return fmt.Sprintf("policy %d", uint8(p))
	}
	return [...]string{"process", "batch", "each"}[p]
}

// Options are how a journal is opened.
type Options struct {
	// Size is how many bytes the ring has, 64 KiB to 32 GiB; 0 is 16 MiB. Half
	// of it is for records, of 16 bytes more each, rounded up to 16. A file that is
	// there keeps the size that it has.
	Size   int64
	Policy Policy
	// Interval is how long Batch waits for others; 0 is 5 ms.
	Interval time.Duration

	boot func() BootID                 // in place of the kernel's
	sync func(sync func() error) error // around every sync
}

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

// Open opens the journal of that name, or makes one. Errors that tell of the file
// are ErrLocked, ErrForeign, ErrVersion, ErrCorrupt and ErrLost: the file is then as
// it was, see [SetAside].
func Open(path string, opt Options) (*Journal, error) {
	j, err := open(path, opt)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

func open(path string, opt Options) (*Journal, error) {
	if opt.Size == 0 {
		opt.Size = 16 << 20
	}
	opt.Size = (opt.Size + headerSize - 1) / headerSize * headerSize
	if opt.Size < minSize || opt.Size > maxSize {
		return nil, fmt.Errorf("a ring of %d bytes: must be from %d to %d", opt.Size, minSize, int64(maxSize))
	}
	if opt.Policy > Each {
		return nil, fmt.Errorf("there is no %v", opt.Policy)
	}
	f, err := openFile(path, opt.Size)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		path: path, file: f, policy: opt.Policy, sync: f.sync,
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), news: make(chan struct{}),
	}
	if j.policy == Batch {
		if j.interval = opt.Interval; j.interval <= 0 {
			j.interval = 5 * time.Millisecond
		}
	}
	if opt.sync != nil {
		j.sync = func() error { return opt.sync(f.sync) }
	}
	boot := bootID
	if opt.boot != nil {
		boot = opt.boot
	}
	if err := j.begin(boot()); err != nil {
		return nil, errors.Join(err, f.close())
	}
	j.close = sync.OnceValue(j.end)
	if j.policy != Process {
		j.syncer.Go(j.run)
	}
	return j, nil
}

// begin starts a life. The disk has to have the list before a mark that says so,
// and has to know of the life before anything is written in it.
func (j *Journal) begin(boot BootID) (err error) {
	defer j.leave(debug.SetPanicOnFault(true), &err)
	if j.ring, err = load(j.file.image, boot); err != nil {
		return err
	}
	if err := j.judge(j.sync()); err != nil {
		return err
	}
	j.durable = j.ring.head
	j.ring.synced(j.durable)
	j.ring.begin(boot, j.policy)
	j.id, j.life = j.ring.id, j.ring.life
	return j.judge(j.sync())
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
