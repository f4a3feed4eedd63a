//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"rpcpool.dev/tvm"
)

// grantScenario measures the tracker's round trip: a client asks for a device
// that is free, and gets it; then the other way round, a device is offered to a
// client that waits.
type grantScenario struct{ n int }

const (
	grantRatio  = 2.5 // round trip, at most, in raw round trips
	statusFrame = tvm.FrameHeader + 1
	benchKey    = "bench"
)

func (*grantScenario) name() string  { return "grant" }
func (*grantScenario) about() string { return "REQUEST to grant, one client and one server" }
func (*grantScenario) modest()       {}
func (s *grantScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 30000, "round trips")
}

func (s *grantScenario) run(ctx context.Context, l *lab) error {
	b, err := newGrantBench(ctx, l)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.round(s.n/10, b.free, &sample{}, &sample{}); err != nil { // caches, heap, scheduler
		return err
	}
	for _, part := range []struct {
		figure string
		step   func() (time.Duration, error)
		of     statistic
	}{
		{"REQUEST → grant, device free", b.free, ofRatio},
		{"PUT → grant, client waiting", b.waiting, ofRatio},
	} {
		grants, floors := &sample{}, &sample{}
		if err := b.round(s.n, part.step, grants, floors); err != nil {
			return fmt.Errorf("%s: %w", part.figure, err)
		}
		l.add(latencies(part.figure, grants).above(floors, b.floorIs()).atMost(part.of, grantRatio))
	}
	return nil
}

// grantBench is one client, one server, and their twins on the floor.
type grantBench struct {
	server      *offers
	client      *peer
	serverTwin  *peer
	clientTwin  *peer
	request     []byte
	grantLength int // of the frame
	putLength   int
}

func newGrantBench(ctx context.Context, l *lab) (b *grantBench, err error) {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return nil, err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return nil, err
	}
	b = &grantBench{request: requestFrame(benchKey), putLength: len(putFrame(benchKey, ticket(benchKey, 1)))}
	if b.server, err = dialServer(ctx, tracker.addr, benchKey); err != nil {
		return nil, err
	}
	if b.client, err = dialTracker(ctx, tracker.addr); err != nil {
		return nil, err
	}
	if b.serverTwin, err = dialPeer(ctx, floor.addr); err != nil {
		return nil, err
	}
	if b.clientTwin, err = dialPeer(ctx, floor.addr); err != nil {
		return nil, err
	}
	b.grantLength, err = b.measureGrant()
	return b, err
}

func (b *grantBench) close() {
	for _, p := range []*peer{b.server.peer, b.client, b.serverTwin, b.clientTwin} {
		p.close()
	}
}

func (b *grantBench) floorIs() string {
	return fmt.Sprintf("raw TCP ping-pong of %d and %d bytes", len(b.request), b.grantLength)
}

// measureGrant makes one cycle and returns the length of the grant's frame.
func (b *grantBench) measureGrant() (int, error) {
	if err := b.server.offer(); err != nil {
		return 0, err
	}
	payload, err := b.client.call(b.request)
	if err != nil {
		return 0, err
	}
	if _, err := tvm.ParseGrant(payload); err != nil {
		return 0, err
	}
	return tvm.FrameHeader + len(payload), nil
}

// round measures n grants and n raw round trips, in turns.
func (b *grantBench) round(n int, step func() (time.Duration, error), grants, floors *sample) error {
	for i := range 2 * n {
		into, op := grants, step
		if (i+i/2)%2 == 0 { // floor, grant, grant, floor, …: neither always comes after the other
			into, op = floors, b.twin
		}
		took, err := op()
		if err != nil {
			return err
		}
		into.add(took)
	}
	return nil
}

// free times a REQUEST for a device that was offered before.
func (b *grantBench) free() (time.Duration, error) {
	if err := b.server.offer(); err != nil {
		return 0, err
	}
	began := time.Now()
	frame, err := b.client.exchange(b.request, b.grantLength)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, b.isOurs(frame)
}

// isOurs checks that a grant is for the ticket that was offered last.
func (b *grantBench) isOurs(frame []byte) error {
	g, err := tvm.ParseGrant(frame[tvm.FrameHeader:])
	if err != nil {
		return err
	}
	if want := ticket(benchKey, b.server.n); g.MatchKey != want {
		return fmt.Errorf("%w: %s, want %s", errForeignGrant, g.MatchKey, want)
	}
	return nil
}

// waiting times an offer for a client that asked before.
func (b *grantBench) waiting() (time.Duration, error) {
	if _, err := b.client.conn.Write(b.request); err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	// An answer on another connection proves nothing about this one: the
	// tracker may read either first. A moment later it has read both.
	if err := b.server.done(pingFrame()); err != nil {
		return 0, err
	}
	b.server.n++
	put := putFrame(benchKey, ticket(benchKey, b.server.n))
	began := time.Now()
	if _, err := b.server.conn.Write(put); err != nil {
		return 0, fmt.Errorf("offer: %w", err)
	}
	frame, err := b.client.read(b.grantLength)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if err := b.isOurs(frame); err != nil {
		return 0, err
	}
	_, err = b.server.read(statusFrame)
	return took, err
}

// twin does on the floor what free does on the tracker, and times the same part.
func (b *grantBench) twin() (time.Duration, error) {
	if _, err := b.serverTwin.exchange(floorMessage(b.putLength, statusFrame), statusFrame); err != nil {
		return 0, err
	}
	message := floorMessage(len(b.request), b.grantLength)
	began := time.Now()
	_, err := b.clientTwin.exchange(message, b.grantLength)
	return time.Since(began), err
}

func pingFrame() []byte { return tvm.AppendMessage(nil, tvm.Ping{}) }
