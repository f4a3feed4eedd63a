//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/tvm"
)

// attack sends bad input to one port, a bounded number of connections a second
// and at a time.
type attack struct {
	name  string
	addr  string
	rate  int // connections a second
	make  func(mutator) [][]byte
	begin func(context.Context) (net.Conn, error) // nil: just connect
	pause time.Duration                           // between two pieces; such a peer also stays for slowHold. 0: none

	made atomic.Int64 // connections
}

// Bounds of one bad connection.
const (
	attackersAtOnce = 16 // connections of one attack
	attackHold      = 30 * time.Millisecond
	slowPause       = 100 * time.Millisecond
	slowHold        = 8 * time.Second // longer than any door waits for somebody to introduce himself
)

// run attacks until ctx ends.
func (a *attack) run(ctx context.Context, seed, stream uint64) error {
	group, groupCtx := errgroup.WithContext(ctx)
	turns := make(chan struct{})
	group.Go(func() error {
		defer close(turns)
		tick := time.NewTicker(time.Second / time.Duration(a.rate))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-groupCtx.Done():
				return nil
			}
			select {
			case turns <- struct{}{}:
			case <-groupCtx.Done():
				return nil
			}
		}
	})
	for i := range attackersAtOnce {
		m := newMutator(seed, stream<<32+uint64(i))
		group.Go(func() error {
			for range turns {
				if err := a.once(ctx, m); err != nil && ctx.Err() == nil {
					return fmt.Errorf("attack on %s: %w", a.name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// once makes one bad connection. Only a port that does not take connections any
// more is an error; that it closes ours is what it should do.
func (a *attack) once(ctx context.Context, m mutator) error {
	begin := a.begin
	if begin == nil {
		begin = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", a.addr)
		}
	}
	c, err := begin(ctx)
	if err != nil || c == nil {
		return err
	}
	defer func() { _ = c.Close() }()
	a.made.Add(1)
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if t, ok := c.(*net.TCPConn); ok && m.IntN(2) == 0 {
		_ = t.SetLinger(0) // ends by a reset
	}
	if a.pause > 0 {
		a.slowly(ctx, c, m)
		return nil
	}
	for _, part := range a.make(m) {
		if _, err := c.Write(part); err != nil {
			return nil
		}
		if m.IntN(8) == 0 {
			time.Sleep(time.Duration(m.IntN(5)) * time.Millisecond)
		}
	}
	switch m.IntN(3) {
	case 0: // leaves at once
	case 1: // reads for a moment
		_ = c.SetReadDeadline(time.Now().Add(attackHold))
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	case 2: // stays for a moment, and reads nothing
		time.Sleep(attackHold)
	}
	return nil
}

// slowly sends with pauses, and reads until it is sent away, or has stayed long enough.
func (a *attack) slowly(ctx context.Context, c net.Conn, m mutator) {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = c.SetDeadline(time.Now().Add(slowHold))
	var sending sync.WaitGroup
	defer sending.Wait()
	gone := make(chan struct{})
	defer close(gone)
	sending.Go(func() {
		for _, part := range a.make(m) {
			if _, err := c.Write(part); err != nil {
				return
			}
			select {
			case <-time.After(a.pause):
			case <-gone:
				return
			}
		}
	})
	_, _ = io.Copy(io.Discard, c)
}

// badFrames are messages to a tracker: noise, or a good hello and then messages
// good and bad.
func badFrames(key string) func(mutator) [][]byte {
	seeds := trackerSeeds(key)
	return func(m mutator) [][]byte {
		if m.IntN(4) == 0 {
			return m.pieces(m.noise())
		}
		all := tvm.AppendTrackerMagic(nil)
		if m.IntN(8) == 0 {
			all = m.mutate(all)
		}
		for range 1 + m.IntN(6) {
			frame := m.one(seeds)
			if m.IntN(3) > 0 {
				frame = m.mutate(frame)
			}
			all = append(all, frame...)
		}
		return m.pieces(all)
	}
}

// badInput is noise, or one of the seeds, mostly mutated.
func badInput(seeds [][]byte) func(mutator) [][]byte {
	return func(m mutator) [][]byte {
		switch m.IntN(8) {
		case 0, 1:
			return m.pieces(m.noise())
		case 2:
			return m.pieces(m.one(seeds))
		default:
			return m.pieces(m.mutate(m.one(seeds)))
		}
	}
}

// badSession is what a client with a good ticket may send: a session that goes
// wrong somewhere.
func badSession(m mutator) [][]byte {
	seeds := sessionSeeds()
	if m.IntN(4) == 0 {
		return m.pieces(m.noise())
	}
	all := append([]byte(nil), seeds[0]...) // a session begins with it
	for range m.IntN(4) {
		packet := m.one(seeds[1:])
		if m.IntN(2) == 0 {
			packet = m.mutate(packet)
		}
		all = append(all, packet...)
	}
	return m.pieces(all)
}

// withTicket returns how to get into a session: a grant by the tracker, and a
// handshake. A connection that is nil means that there was no device in time.
func withTicket(trackerAddr, key string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		customer, err := newCustomer(ctx, trackerAddr, key)
		if err != nil {
			return nil, err
		}
		defer customer.close()
		g, err := customer.grant(ctx)
		if err != nil {
			return nil, nil
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", serverAddr(g))
		if err != nil {
			return nil, fmt.Errorf("door: %w", err)
		}
		if err := shakeHands(c, g.MatchKey); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
}

// shakeHands shows a ticket, which must be accepted.
func shakeHands(c net.Conn, matchKey string) error {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(tvm.AppendClientHello(nil, matchKey, time.Second)); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	var answer []byte
	for want := 4; ; {
		have := len(answer)
		answer = append(answer, make([]byte, want-have)...)
		if _, err := io.ReadFull(c, answer[have:]); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		a, n, err := tvm.ParseServerAnswer(answer)
		switch {
		case err == nil:
			return a.Err()
		case !errors.Is(err, tvm.ErrShortAnswer):
			return err
		}
		want = n
	}
}
