//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// stormScenario measures how long it takes until servers that all connect at
// the same moment, as after a restart of the tracker, are all registered.
type stormScenario struct {
	servers int
	rounds  int
}

const stormTarget = time.Second

func (*stormScenario) name() string { return "storm" }
func (*stormScenario) about() string {
	return "time until all of many servers that connect at once are registered"
}
func (*stormScenario) modest() {}
func (s *stormScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.servers, "servers", 500, "servers")
	flags.IntVar(&s.rounds, "rounds", 10, "rounds, each in turn with the floor's")
}

func (s *stormScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	whole, stock, raw := &sample{}, &sample{}, &sample{}
	for range s.rounds {
		for _, part := range []struct {
			into *sample
			addr string
			step stormStep
		}{
			{raw, floor.addr, rawStep},
			{whole, tracker.addr, registerStep(sendWhole)},
			{stock, tracker.addr, registerStep(sendLikeStock)},
		} {
			took, err := s.round(ctx, part.addr, part.step, part.addr == tracker.addr)
			if err != nil {
				return err
			}
			part.into.add(took)
		}
	}
	floorIs := "as many raw connections at once, each with three ping-pongs of the same sizes"
	l.add(latencies(fmt.Sprintf("%d servers at once, all registered", s.servers), whole).
		above(raw, floorIs).atMost(ofP99, stormTarget.Seconds()))
	l.add(latencies(fmt.Sprintf("%d servers at once that send like stock ones", s.servers), stock).
		above(raw, floorIs).atMost(ofP99, stormTarget.Seconds()))
	return nil
}

// stormStep is what the i-th of those that connect does once it is connected.
type stormStep func(c *net.TCPConn, i int) error

// round connects all at once and returns when the last is done; those at a
// tracker must then all be in its summary.
func (s *stormScenario) round(ctx context.Context, addr string, step stormStep, isTracker bool) (time.Duration, error) {
	conns := make([]net.Conn, s.servers)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	gate := make(chan struct{})
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range s.servers {
		group.Go(func() error {
			<-gate
			c, err := new(net.Dialer).DialContext(groupCtx, "tcp", addr)
			if err != nil {
				return fmt.Errorf("connect: %w", err)
			}
			conns[i] = c
			return step(c.(*net.TCPConn), i)
		})
	}
	began := time.Now()
	close(gate)
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("storm: %w", err)
	}
	took := time.Since(began)
	if isTracker {
		return took, s.check(ctx, addr)
	}
	return took, nil
}

// check asks the tracker whether it knows all servers, and waits until those of
// the last round are gone.
func (s *stormScenario) check(ctx context.Context, addr string) error {
	c, err := tracker.Dial(ctx, addr)
	if err != nil {
		return fmt.Errorf("storm: %w", err)
	}
	defer func() { _ = c.Close() }()
	var summary tvm.SummaryReply
	if !waitUntil(ctx, time.Second, func() bool {
		summary, err = c.Summary(ctx)
		return err != nil || len(summary.Servers) == s.servers && summary.Queue[benchKey].Free == s.servers
	}) {
		return fmt.Errorf("storm: %d servers and %d offers are known, want %d", len(summary.Servers), summary.Queue[benchKey].Free, s.servers)
	}
	return err
}

// registerStep registers and offers like a server: hello, UPDATE_INFO, PUT, each
// when the one before is answered.
func registerStep(send func(*net.TCPConn, []byte) error) stormStep {
	return func(c *net.TCPConn, i int) error {
		magic := tvm.AppendTrackerMagic(nil)
		if _, err := c.Write(magic); err != nil {
			return fmt.Errorf("hello: %w", err)
		}
		if err := readExactly(c, len(magic)); err != nil {
			return err
		}
		for _, frame := range [][]byte{infoFrame(benchKey), putFrame(benchKey, ticket(benchKey, i))} {
			if err := send(c, frame); err != nil {
				return err
			}
			if err := readExactly(c, statusFrame); err != nil {
				return err
			}
		}
		return nil
	}
}

// rawStep exchanges messages of the lengths of registerStep with the floor.
func rawStep(c *net.TCPConn, i int) error {
	magic := len(tvm.AppendTrackerMagic(nil))
	for _, m := range []struct{ out, in int }{
		{magic, magic},
		{len(infoFrame(benchKey)), statusFrame},
		{len(putFrame(benchKey, ticket(benchKey, i))), statusFrame},
	} {
		if _, err := c.Write(floorMessage(m.out, m.in)); err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		if err := readExactly(c, m.in); err != nil {
			return err
		}
	}
	return nil
}

func readExactly(r io.Reader, n int) error {
	if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
		return fmt.Errorf("receive %d bytes: %w", n, err)
	}
	return nil
}

func sendWhole(c *net.TCPConn, frame []byte) error {
	if _, err := c.Write(frame); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// sendLikeStock sends a frame as stock peers do: Nagle's algorithm is on, and
// the length and the body are sent one after the other. The body then waits
// until the length is acknowledged.
func sendLikeStock(c *net.TCPConn, frame []byte) error {
	if err := c.SetNoDelay(false); err != nil {
		return fmt.Errorf("turn Nagle's algorithm on: %w", err)
	}
	if err := sendWhole(c, frame[:tvm.FrameHeader]); err != nil {
		return err
	}
	return sendWhole(c, frame[tvm.FrameHeader:])
}
