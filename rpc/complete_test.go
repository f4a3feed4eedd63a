package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledger is a handler's store: a sum, and records of what was added to it.
type ledger struct {
	mu      sync.Mutex
	sum     int
	records map[XID][]byte
	down    int // how many more lookups fail
}

func (l *ledger) lookup(_ context.Context, id XID) ([]byte, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down > 0 {
		l.down--
		return nil, false, errors.New("store is away")
	}
	reply, found := l.records[id]
	return reply, found, nil
}

func (l *ledger) insert(r Record) error {
	if _, there := l.records[r.XID]; there {
		return errors.New("there is a record of it")
	}
	l.records[r.XID] = r.Reply
	return nil
}

// fails lets the next lookups fail.
func (l *ledger) fails(times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = times
}

// keeps has a record that no call has made.
func (l *ledger) keeps(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[r.XID] = r.Reply
}

// total is the sum, which begins anew.
func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.sum
	l.sum = 0
	return sum
}

// add is one transaction.
func (l *ledger) add(ctx context.Context, n int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.sum + n
	if err := Complete(ctx, sum, l.insert); err != nil {
		return 0, err
	}
	l.sum = sum
	return sum, nil
}

func TestS3_27_WhateverAHandlerDoesItsEffectIsOne(t *testing.T) {
	errOh := errors.New("oh")
	for name, x := range map[string]struct {
		handler func(l *ledger, ctx context.Context, n int) (int, error)
		want    error
		sum     int
	}{
		"it returns what it has completed": {(*ledger).add, nil, 5},
		"it fails after it has completed": {func(l *ledger, ctx context.Context, n int) (int, error) {
			_, err := l.add(ctx, n)
			return 0, errors.Join(err, errOh)
		}, nil, 5},
		"it panics after it has completed": {func(l *ledger, ctx context.Context, n int) (int, error) {
			_, _ = l.add(ctx, n)
			panic("oh")
		}, nil, 5},
		"another has completed it while it ran": {func(l *ledger, ctx context.Context, n int) (int, error) {
			_, _ = l.add(ctx, n)
			return l.add(ctx, n)
		}, nil, 5},
		"it fails and has done nothing": {func(*ledger, context.Context, int) (int, error) {
			return 0, Fail("broke", nil, "no money")
		}, Reason("broke"), 0},
		"it forgets to complete": {func(*ledger, context.Context, int) (int, error) { return 5, nil }, Failed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := &ledger{records: map[XID][]byte{}}
			both(t, ServerOptions{}, func(s *Server) {
				Handle(s, "Add", func(ctx context.Context, n int) (int, error) { return x.handler(l, ctx, n) }, MethodOptions{Lookup: l.lookup})
			}, func(t *testing.T, c Caller) {
				id := NewXID()
				for range 3 { // as a client does that comes back
					n, err := Call[int](soon(t), c, "Add", 5, ExactlyOnce(id))
					if x.want == nil && (n != 5 || err != nil) || x.want != nil && (!errors.Is(err, x.want) || !errors.Is(err, Executed)) {
						t.Errorf("%d, %v", n, err)
					}
				}
				if sum := l.total(); sum != x.sum {
					t.Errorf("sum is %d, want %d", sum, x.sum)
				}
			})
		})
	}
}

func TestS3_27_WhatIsVoidIsNotDoneAnyMore(t *testing.T) {
	l := &ledger{records: map[XID][]byte{}}
	both(t, ServerOptions{}, func(s *Server) { Handle(s, "Add", l.add, MethodOptions{Lookup: l.lookup}) }, func(t *testing.T, c Caller) {
		id := NewXID()
		l.keeps(Voided(id))
		var e *Error
		if _, err := Call[int](soon(t), c, "Add", 5, ExactlyOnce(id)); !errors.Is(err, Void) || !errors.As(err, &e) || e.XID != id && e.XID != (XID{}) || l.total() != 0 {
			t.Error(err)
		}
	})
}

func TestS3_27_WhoDoesNotKnowSaysSoAndIsAskedAgain(t *testing.T) {
	l := &ledger{records: map[XID][]byte{}, down: 1}
	s, c := serving(t, ServerOptions{}, ClientOptions{}, func(s *Server) { Handle(s, "Add", l.add, MethodOptions{Lookup: l.lookup}) })
	if _, err := Call[int](soon(t), c, "Add", 5); !errors.Is(err, Lost) || !errors.Is(err, Indeterminate) {
		t.Errorf("a call that is made once: %v", err)
	}
	l.fails(1)
	if _, err := Call[int](soon(t), s.Local(), "Add", 5); !errors.Is(err, Lost) || !errors.Is(err, Indeterminate) {
		t.Errorf("within the process: %v", err)
	}
	l.fails(2)
	if n, err := Call[int](soon(t), c, "Add", 5, ExactlyOnce(XID{})); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	l.fails(2)
	if n, err := Spawn[int](soon(t), c, "Add", 5, ExactlyOnce(XID{})).Get(soon(t)); n != 10 || err != nil {
		t.Errorf("spawned: %d, %v", n, err)
	}
	l.fails(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Call[int](ctx, c, "Add", 5, ExactlyOnce(XID{})); !errors.Is(err, Indeterminate) {
		t.Errorf("its time is over: %v", err)
	}
}

func TestS3_27_ARecordThatCannotBeReadIsNoResult(t *testing.T) {
	l := &ledger{records: map[XID][]byte{}}
	both(t, ServerOptions{}, func(s *Server) { Handle(s, "Add", l.add, MethodOptions{Lookup: l.lookup}) }, func(t *testing.T, c Caller) {
		id := NewXID()
		l.keeps(Record{id, []byte("of something else")})
		if _, err := Call[int](soon(t), c, "Add", 5, ExactlyOnce(id)); !errors.Is(err, ReplyLost) || !errors.Is(err, Executed) {
			t.Error(err)
		}
	})
}

func TestS3_27_OnlyWhoKeepsRecordsIsCalledExactlyOnce(t *testing.T) {
	var runs atomic.Int32
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Plain", func(ctx context.Context, n int) (int, error) {
			runs.Add(1)
			return n, Complete(ctx, n, func(Record) error { return nil })
		})
		HandleStream(s, "Stream", sum)
	}, func(t *testing.T, c Caller) {
		for name, opts := range map[string][]CallOption{"plain": nil, "one-way": {OneWay}, "in a lane": {Lane(1)}} {
			if _, err := Call[int](soon(t), c, "Plain", 1, append(opts, ExactlyOnce(XID{}))...); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := OpenStream[int, int](soon(t), c, "Stream", 1, ExactlyOnce(XID{})); !errors.Is(err, Invalid) {
			t.Errorf("a stream: %v", err)
		}
		if n := runs.Load(); n != 0 {
			t.Errorf("%d runs", n)
		}
		if _, err := Call[int](soon(t), c, "Plain", 1); !errors.Is(err, Failed) {
			t.Errorf("completion without a Lookup: %v", err)
		}
		runs.Store(0)
	})
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Register(new(Arith), "", MethodOptions{Lookup: (&ledger{}).lookup}); err == nil {
		t.Error("methods of net/rpc keep no records")
	}
}
