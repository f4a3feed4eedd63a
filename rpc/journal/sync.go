package journal

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// run syncs when there is something to sync, until the journal is closed.
func (j *Journal) run() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.dirty:
		}
		if j.interval > 0 {
			others := time.NewTimer(j.interval)
			select {
			case <-j.stop:
				others.Stop()
				return
			case <-others.C:
			}
		}
		j.mu.Lock()
		pos := j.ring.head
		behind := j.err == nil && pos > j.durable // not, if the last sync took it along
		j.mu.Unlock()
		if behind {
			j.synced(pos, j.sync())
		}
	}
}

// synced takes the outcome of a sync that was made while nobody was held up.
func (j *Journal) synced(pos uint64, outcome error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	var err error // is in j.err
	defer j.leave(debug.SetPanicOnFault(true), &err)
	if j.judge(outcome) == nil {
		j.settle(pos)
	}
}

// flush syncs if the policy wants it.
func (j *Journal) flush() error {
	if j.policy == Process {
		return nil
	}
	return j.judge(j.sync())
}

// judge takes the outcome of a sync. After one that has failed, the kernel may think
// that the disk has what it has not: no later one would tell.
func (j *Journal) judge(outcome error) error {
	j.stats.Syncs++
	if outcome == nil {
		return nil
	}
	err := j.fail(fmt.Errorf("sync: %w", outcome))
	j.ring.fail()
	return err
}

// settle says that the disk has the list up to pos.
func (j *Journal) settle(pos uint64) {
	if pos <= j.durable {
		return
	}
	j.durable = pos
	j.ring.synced(pos)
	j.tell()
}

// end is what Close does, once.
func (j *Journal) end() error {
	close(j.stop)
	j.syncer.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.finish()
	if j.err == nil {
		j.err = fmt.Errorf("%w: %s", ErrClosed, j.path)
	}
	j.tell()
	return errors.Join(err, j.file.close())
}

// finish ends the life.
func (j *Journal) finish() (err error) {
	if j.err != nil {
		return j.err
	}
	defer j.leave(debug.SetPanicOnFault(true), &err)
	if err := j.judge(j.sync()); err != nil {
		return err
	}
	j.settle(j.ring.head)
	j.ring.end()
	return j.judge(j.sync())
}
