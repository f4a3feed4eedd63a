package server

import (
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// Run runs a call in this process. It returns the result with [session.OK], or an
// error as [wire.Failure] has made it, with another code; [session.Invalid] says
// that the handler was not run. The result may alias the job's arguments.
type Run func(j *Job) (code session.Code, reply []byte)

// Method is what may be called.
type Method struct {
	Name string
	// Run is the handler, where the executor is a [Local].
	Run Run
	// Inline says that Run is so short, and never waits, that the reader of the
	// connection may run it: it saves a switch of goroutines.
	Inline bool
	// Concurrency bounds how many calls of the method run at once: 1 for what has a
	// device for itself; 0: the server's limit alone.
	Concurrency int
	// Timeout bounds the time of a call, from its arrival on. 0: the server's.
	Timeout time.Duration
	// Recorded says that the handler keeps a record of what it has done, by the call's XID,
	// and asks for it before it does it: so a call may be run again after a crash, and its
	// client may say under which XID.
	Recorded bool
	// Runs is how often a call that may run again is run, if its workers crash. 0: as the
	// table has it; 1: once.
	Runs int
	// Once says that more than one run is harm: a call that says otherwise is refused.
	Once bool
	// Stream says that arguments or result are several messages.
	Stream bool
	// Unkillable says that no worker is killed because a call of the method outlives its
	// deadline, or the one who wants it.
	Unkillable bool

	stray  bool // the server does not know it: it is a name that a client has for what it may not call
	number uint32
	pace   *pace
	room   *atomic.Uint64 // how long the last result was that was in a blob, bytes; 0: it was not, or too long
	tally  *tally         // nil: it is counted with others
}

var errMethod = errors.New("bad method")

// numberOf is the method's number in the table and its journal: the same in every
// life, so it must not depend on the order of registration.
func numberOf(name string) uint32 {
	return max(crc32.ChecksumIEEE([]byte(name)), 1)
}

// methods are those of a core, by number.
type methods struct {
	byNumber map[uint32]*Method
	open     bool // methods that were not registered are let through
}

// mostOpen bounds how many names peers can make the server remember.
const mostOpen = 1 << 16

func (s *methods) add(m Method) error {
	if err := frame.CheckMethodName([]byte(m.Name)); err != nil {
		return fmt.Errorf("%w: %w", errMethod, err)
	}
	if m.Concurrency < 0 || m.Timeout < 0 || m.Runs < 0 {
		return fmt.Errorf("%w %q: concurrency %d, timeout %v, %d runs", errMethod, m.Name, m.Concurrency, m.Timeout, m.Runs)
	}
	m.number, m.pace, m.room = numberOf(m.Name), new(pace), new(atomic.Uint64)
	if old := s.byNumber[m.number]; old != nil {
		if old.Name == m.Name {
			return fmt.Errorf("%w %q: it is there already", errMethod, m.Name)
		}
		return fmt.Errorf("%w %q: its number is that of %q; rename one of them", errMethod, m.Name, old.Name)
	}
	s.byNumber[m.number] = &m
	return nil
}

// named returns the method of that name, nil if there is none.
func (s *methods) named(name string) *Method {
	n := numberOf(name)
	m := s.byNumber[n]
	switch {
	case m != nil && m.Name == name:
		return m
	case m != nil || !s.open || len(s.byNumber) >= mostOpen:
		return nil
	}
	m = &Method{Name: name, number: n, pace: new(pace), room: new(atomic.Uint64)}
	s.byNumber[n] = m
	return m
}

// stray is named, but remembers nothing.
func (s *methods) stray(name string) *Method {
	n := numberOf(name)
	switch m := s.byNumber[n]; {
	case m != nil && m.Name == name:
		return m
	case !s.open:
		return nil
	}
	return &Method{Name: name, stray: true, number: n, pace: new(pace), room: new(atomic.Uint64)}
}
