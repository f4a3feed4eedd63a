package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/session"
)

// Journal keeps records over the death of the process: [journal.Journal].
type Journal interface {
	Append(record ...[]byte) (end uint64, err error)
	Compact(records iter.Seq[[]byte]) error
	Records() iter.Seq2[[]byte, error]
	Room() uint64
	Wait(ctx context.Context, end uint64) error
}

var _ Journal = (*journal.Journal)(nil)

// A record is
//
//	kind 1 · flags 1 · code 1 · execution 1 · method 4 · seq 8 · sum 8 · session 16 · secret 16 or reply
//
// with numbers in little-endian order; the secret is that of an opened session, the
// reply that of an end.
const recordHead = 4 + 4 + 8 + 8 + 16

const (
	recordIdempotent = 1 << iota
	recordRecorded
)

var errRecord = errors.New("malformed record in the journal")

func appendRecord(dst []byte, r *session.Record) []byte {
	flags := byte(0)
	if r.Idempotent {
		flags = recordIdempotent
	}
	if r.Recorded {
		flags |= recordRecorded
	}
	dst = append(dst, byte(r.Kind), flags, byte(r.Outcome.Code), byte(r.Outcome.Execution))
	dst = binary.LittleEndian.AppendUint32(dst, r.Method)
	dst = binary.LittleEndian.AppendUint64(dst, r.Seq)
	dst = binary.LittleEndian.AppendUint64(dst, r.Sum)
	dst = append(dst, r.Session[:]...)
	if r.Kind == session.RecordOpen {
		dst = append(dst, r.Secret[:]...)
	}
	return dst
}

func parseRecord(b []byte) (r session.Record, err error) {
	if len(b) < recordHead || b[0] == 0 || session.RecordKind(b[0]) > session.RecordClose {
		return r, fmt.Errorf("%w: %d bytes", errRecord, len(b))
	}
	r.Kind, r.Idempotent = session.RecordKind(b[0]), b[1]&recordIdempotent != 0
	r.Recorded = b[1]&recordRecorded != 0
	r.Outcome.Code, r.Outcome.Execution = session.Code(b[2]), session.Execution(b[3])
	r.Method = binary.LittleEndian.Uint32(b[4:])
	r.Seq, r.Sum = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	copy(r.Session[:], b[24:])
	rest := b[recordHead:]
	switch {
	case r.Kind == session.RecordOpen && len(rest) == len(r.Secret):
		copy(r.Secret[:], rest)
	case r.Kind == session.RecordEnd:
		r.Outcome.Reply = append([]byte(nil), rest...)
	case r.Kind == session.RecordOpen || len(rest) != 0:
		return r, fmt.Errorf("%w: %d bytes after its head", errRecord, len(rest))
	}
	return r, nil
}

// restore gives the table what the journal holds.
func (c *Core) restore() error {
	if c.opts.Journal == nil {
		return nil
	}
	now := c.now()
	for b, err := range c.opts.Journal.Records() {
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		r, err := parseRecord(b)
		if err != nil {
			return err
		}
		c.domain.Restore(now, &r)
	}
	return c.compact()
}

// journalled writes what an effect says. Of all records only a start must be there
// before it happens: if it is not, the call is not started.
func (c *Core) journalled(t *turn, fx *session.Effect) {
	r := fx.Record()
	c.record = appendRecord(c.record[:0], &r)
	var reply []byte
	if r.Kind == session.RecordEnd {
		reply = r.Outcome.Reply
	}
	end, err := c.write(c.record, reply)
	if err != nil && len(reply) > 0 { // that it ran is worth more than what came of it
		r.Outcome.Code, r.Outcome.Reply = lostReply(r.Outcome), nil
		c.record = appendRecord(c.record[:0], &r)
		end, err = c.write(c.record, nil)
	}
	if err == nil && c.opts.Sync {
		t.wait = end
	}
	if r.Kind != session.RecordStart || err == nil && !c.opts.Sync {
		return
	}
	if j := c.starting(t, &r); j != nil {
		j.refused, j.unsaved = err != nil, c.opts.Sync
	}
}

// lostReply is the code of an outcome whose reply could not be kept.
func lostReply(o session.Outcome) session.Code {
	if o.Code == session.OK {
		return session.ReplyLost
	}
	return o.Code
}

// starting returns the job whose start a record tells: its Execute comes next.
func (c *Core) starting(t *turn, r *session.Record) *Job {
	for i := range t.fx {
		if t.fx[i].Do != session.Execute {
			continue
		}
		if j := jobOf(t.fx[i].Entry); j != nil && j.xid == (session.XID{Session: r.Session, Seq: r.Seq}) {
			return j
		}
	}
	return nil
}

// write appends a record, and makes room first if need be.
func (c *Core) write(head, reply []byte) (uint64, error) {
	if err := c.Broken(); err != nil {
		return 0, err
	}
	c.parts = [...][]byte{head, reply}
	end, err := c.append()
	if errors.Is(err, journal.ErrFull) {
		if err = c.compact(); err == nil {
			end, err = c.append()
		}
	}
	c.parts[1] = nil
	if err != nil && !errors.Is(err, journal.ErrFull) && !errors.Is(err, journal.ErrTooLarge) {
		c.fail(err)
	}
	return end, err //nolint:wrapcheck // the journal names its file
}

// append appends c.parts, if room is left then for the ends of all that has started: a call that
// ran is not to be Lost for want of it.
func (c *Core) append() (uint64, error) {
	need := roomOf(len(c.parts[0])+len(c.parts[1])) + c.ends()
	if session.RecordKind(c.parts[0][0]) == session.RecordStart {
		need += roomOf(recordHead)
	}
	if c.opts.Journal.Room() < need {
		return 0, journal.ErrFull
	}
	return c.opts.Journal.Append(c.parts[:]...) //nolint:wrapcheck // the journal names its file
}

// ends is how much of the journal the ends of all that has started take at the least.
func (c *Core) ends() uint64 { return uint64(c.active+c.pending) * roomOf(recordHead) }

// roomOf is how much of a journal a record of n bytes takes, see [journal.Options].
func roomOf(n int) uint64 { return 16 + (uint64(n)+15)&^15 }

// fail notes that the journal keeps nothing any more.
func (c *Core) fail(err error) {
	err = fmt.Errorf("journal cannot be written: %w", err)
	if c.broken.CompareAndSwap(nil, &err) {
		c.opts.Log.Error("calls that are not idempotent are refused from now on", "err", err)
	}
}

// Broken returns why the journal keeps nothing any more, nil if it does: calls that are not
// idempotent are refused then. It stays so until another process opens the journal. It does
// not wait.
func (c *Core) Broken() error {
	if err := c.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// compact replaces what the journal holds by what still matters: replies as far as there is
// room for the ends that are to come.
func (c *Core) compact() error {
	err := c.rewrite(true)
	if errors.Is(err, journal.ErrFull) || err == nil && c.opts.Journal.Room() < c.ends() {
		err = c.rewrite(false)
	}
	return err
}

// rewrite is compact with replies, or without.
func (c *Core) rewrite(replies bool) error {
	var b []byte
	err := c.opts.Journal.Compact(func(yield func([]byte) bool) {
		for r := range c.domain.Records() {
			if !replies && len(r.Outcome.Reply) > 0 {
				r.Outcome.Code, r.Outcome.Reply = lostReply(r.Outcome), nil
			}
			b = append(appendRecord(b[:0], &r), r.Outcome.Reply...)
			if r.Kind == session.RecordStart && bytes.Equal(b, c.parts[0]) {
				continue // it is being written, and may find no room
			}
			if !yield(b) {
				return
			}
		}
	})
	if err != nil {
		return fmt.Errorf("compacting the journal: %w", err)
	}
	return nil
}

// defers lets a turn wait until the disk has what it has journalled, behind those that
// wait already. Without a policy that waits for the disk none ever does.
func (c *Core) defers(t *turn) {
	c.behind = append(c.behind, t)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// saved waits until the disk has what a turn has journalled. If it never will, the turn goes on
// all the same, as no call runs twice for that: what has started had its start on disk, and is
// Lost if this machine dies now. Only what is about to start must not. It returns false
// when the core is closed.
func (c *Core) saved(ctx context.Context, t *turn) bool {
	err := c.Broken()
	if err == nil {
		err = c.opts.Journal.Wait(ctx, t.wait)
	}
	if ctx.Err() != nil {
		return false
	}
	if err == nil {
		return true
	}
	c.fail(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range t.starts {
		if j := jobOf(e); j != nil {
			j.refused = j.refused || j.unsaved
		}
	}
	return true
}

// sync carries out what waits for the disk, in order.
func (c *Core) sync() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-c.stop:
			return
		case <-c.wake:
		}
		for {
			c.mu.Lock()
			if len(c.behind) == 0 {
				c.mu.Unlock()
				break
			}
			t := c.behind[0]
			c.mu.Unlock()
			if !c.saved(ctx, t) {
				return
			}
			t.reader, t.behind, t.round = nil, nil, nil
			t.perform(c)
			c.mu.Lock()
			c.behind = c.behind[1:]
			starts := t.starts
			c.unlock(t)
			if len(starts) > 0 {
				n := c.begin(nil)
				n.starts = starts
				c.start(n)
				c.end(n)
			}
		}
	}
}
