package agent

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/sleep"
)

// How often and how much a work directory is measured.
const (
	quotaEvery = time.Second
	// quotaBatch is how long a walk goes on without a rest, and quotaShare how
	// much longer its rests are: a core's twentieth is for measuring.
	quotaBatch = 5 * time.Millisecond
	quotaShare = 19
)

// quota watches the size of a worker's directories: its own and, of a long-lived
// worker, that of its session. It sees neither what was unlinked and is still
// open nor what the worker wrote elsewhere. The nil quota watches nothing.
type quota struct {
	limit int64 // bytes
	done  chan struct{}

	mu      sync.Mutex
	own     int // descriptors; -1: none
	session int
	serial  int // counts sessions
	stopped bool
}

// now is the number of the present session.
func (q *quota) now() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.serial
}

// newQuota watches a work directory from now on, wherever it is moved to; nil if
// there is no limit. It must be stopped.
func newQuota(dir *workDir, limit int64) (*quota, error) {
	if limit <= 0 {
		return nil, nil //nolint:nilnil // the nil quota watches nothing
	}
	fd, err := dir.open()
	if err != nil {
		return nil, err
	}
	return &quota{limit: limit, done: make(chan struct{}), own: fd, session: -1}, nil
}

// open opens the directory itself, for what is to be done in it.
func (d *workDir) open() (fd int, err error) {
	err = d.in.do(func(root int) (err error) {
		fd, err = unix.Openat(root, d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return -1, fmt.Errorf("open work directory %s: %w", d.path, err)
	}
	return fd, nil
}

// watchSession has the directory of a long-lived worker's session count, too, in
// place of that of the one before; nil: none.
func (q *quota) watchSession(dir *workDir) {
	if q == nil {
		return
	}
	fd := -1
	if dir != nil {
		fd, _ = dir.open() // if this fails, the session will, too
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		closeFD(fd)
		return
	}
	closeFD(q.session)
	q.session = fd
	q.serial++
}

// stop ends the watching.
func (q *quota) stop() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	q.stopped = true
	close(q.done)
	closeFD(q.own)
	closeFD(q.session)
}

// watch measures the directories every second or so, until stop, and says when
// they hold more than the limit, and in which session that was.
// A session that has ended meanwhile is not to blame the next one for.
func (q *quota) watch(exceeded func(why string, serial int)) {
	pause := quotaEvery
	for sleep.For(pause, q.done) {
		serial := q.now()
		why, worked, ok := q.measure()
		switch {
		case !ok:
			return
		case why != "":
			exceeded(why, serial)
		}
		pause = max(quotaEvery, quotaShare*worked)
	}
}

// measure walks the directories once. why is empty if they are within the limit;
// worked is for how long it did not rest since it last did. ok is false after
// stop.
func (q *quota) measure() (why string, worked time.Duration, ok bool) {
	began := time.Now()
	w := &walk{limit: q.limit, rest: func() bool {
		worked := time.Since(began)
		if worked < quotaBatch {
			return true
		}
		ok := sleep.For(quotaShare*worked, q.done)
		began = time.Now()
		return ok
	}}
	for _, fd := range q.dirs() {
		ok := w.over() || w.dir(fd)
		_ = unix.Close(fd)
		if !ok {
			return "", 0, false
		}
	}
	switch {
	case w.deep:
		why = fmt.Sprintf("work directory is over %d directories deep", maxDepth)
	case w.over():
		why = fmt.Sprintf("work directory holds at least %d bytes, the limit is %d", w.total, q.limit)
	}
	return why, time.Since(began), true
}

// dirs returns descriptors of the directories, which are the caller's.
func (q *quota) dirs() (fds []int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return nil
	}
	for _, fd := range []int{q.own, q.session} {
		if dup := duplicateFD(fd); dup >= 0 {
			fds = append(fds, dup)
		}
	}
	return fds
}
