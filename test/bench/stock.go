//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/tvm"
)

// stockScenario measures what clients see that send as the stock one does: the
// length and the body of a message in two sends, with Nagle's algorithm on. A
// peer that acknowledges late, as TCP does by default, costs them 40 ms a call.
type stockScenario struct{ n int }

const stockTarget = 300 * time.Microsecond

func (*stockScenario) name() string  { return "stock" }
func (*stockScenario) about() string { return "answers to a client that sends as stock ones do" }
func (*stockScenario) modest()       {}
func (s *stockScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 5000, "calls of each kind")
}

func (s *stockScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	if err := s.atTracker(ctx, l, tracker.addr, floor.addr); err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	if err := s.atDoor(ctx, l, tracker.addr, floor.addr); err != nil {
		return fmt.Errorf("door: %w", err)
	}
	return nil
}

// atTracker measures grants and summaries.
func (s *stockScenario) atTracker(ctx context.Context, l *lab, trackerAddr, floorAddr string) error {
	server, err := dialServer(ctx, trackerAddr, benchKey)
	if err != nil {
		return err
	}
	defer server.close()
	stock, err := dialTracker(ctx, trackerAddr)
	if err != nil {
		return err
	}
	defer stock.close()
	good, err := dialTracker(ctx, trackerAddr)
	if err != nil {
		return err
	}
	defer good.close()
	serverTwin, err := dialPeer(ctx, floorAddr)
	if err != nil {
		return err
	}
	defer serverTwin.close()
	twin, err := dialPeer(ctx, floorAddr)
	if err != nil {
		return err
	}
	defer twin.close()
	beforeTwin := func() error {
		_, err := serverTwin.exchange(floorMessage(len(putFrame(benchKey, ticket(benchKey, 0))), statusFrame), statusFrame)
		return err
	}
	for _, part := range []struct {
		figure string
		before func() error
		frame  []byte
	}{
		{"tracker, REQUEST → grant", server.offer, requestFrame(benchKey)},
		{"tracker, SUMMARY", func() error { return server.done(pingFrame()) }, tvm.AppendMessage(nil, tvm.Summary{})},
	} {
		if err := s.calls(l, part.figure, part.frame, part.before, beforeTwin, stock, good, twin); err != nil {
			return fmt.Errorf("%s: %w", part.figure, err)
		}
	}
	return nil
}

// calls measures one kind of call by a stock client, a client that sends whole
// frames, and on the floor, in turns. Each call follows an untimed one on another
// connection (before, beforeTwin), so that all find their process as warm.
func (s *stockScenario) calls(l *lab, figure string, frame []byte, before, beforeTwin func() error, stock, good, twin *peer) error {
	split, whole, floors := &sample{}, &sample{}, &sample{}
	length := 0
	for range s.n {
		for _, part := range []struct {
			into *sample
			from *peer
			send func(*net.TCPConn, []byte) error
		}{{split, stock, sendLikeStock}, {whole, good, sendWhole}} {
			if err := before(); err != nil {
				return err
			}
			began := time.Now()
			if err := part.send(part.from.conn.(*net.TCPConn), frame); err != nil {
				return err
			}
			payload, err := part.from.frame()
			if err != nil {
				return err
			}
			part.into.add(time.Since(began))
			length = tvm.FrameHeader + len(payload)
		}
		message := floorMessage(len(frame), length)
		if err := beforeTwin(); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		began := time.Now()
		if _, err := twin.exchange(message, length); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		floors.add(time.Since(began))
	}
	floorIs := fmt.Sprintf("raw TCP ping-pong of %d and %d bytes in one send each", len(frame), length)
	l.add(latencies(figure+", stock client", split).above(floors, floorIs).atMost(ofP50, stockTarget.Seconds()))
	l.add(latencies(figure+", one send a frame", whole).above(floors, floorIs))
	return nil
}

// atDoor measures handshakes: three sends by a stock client.
func (s *stockScenario) atDoor(ctx context.Context, l *lab, trackerAddr, floorAddr string) error {
	server, err := l.serve(ctx, benchKey+"-door", trackerAddr)
	if err != nil {
		return err
	}
	k := &knocks{doors: []string{server.addr}, floor: floorAddr, send: handshakeLikeStock}
	if err := k.run(ctx, s.n/5); err != nil {
		return err
	}
	l.add(latencies("door, connect and handshake, stock client", &k.took[0]).above(&k.raw, knockFloorIs).
		atMost(ofP50, stockTarget.Seconds()).noted("with a wrong ticket, so that each handshake is answered and none begins a session"))
	return nil
}

// handshakeLikeStock sends magic, length and key one by one, with Nagle's
// algorithm on.
func handshakeLikeStock(c net.Conn, hello []byte) error {
	if t, ok := c.(*net.TCPConn); ok {
		if err := t.SetNoDelay(false); err != nil {
			return fmt.Errorf("turn Nagle's algorithm on: %w", err)
		}
	}
	for _, part := range [][]byte{hello[:4], hello[4:8], hello[8:]} {
		if _, err := c.Write(part); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}
