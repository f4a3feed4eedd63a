package journal

import (
	"errors"
	"fmt"
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
	// Size is how many bytes the ring has, 16 KiB to 32 GiB; 0 is 16 MiB. Half
	// of it is for records, of 16 bytes more each, rounded up to 16. A file that is
	// there keeps the size that it has.
	Size   int64
	Policy Policy
	// Interval is how long Batch waits for others; 0 is 5 ms.
	Interval time.Duration

	boot func() BootID                 // in place of the kernel's
	sync func(sync func() error) error // around every sync
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
	opt.Size = rounded(opt.Size)
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

// rounded is the size of a ring that is asked for.
func rounded(size int64) int64 { return (size + headerSize - 1) / headerSize * headerSize }

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
