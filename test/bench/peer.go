//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"

	"rpcpool.dev/tvm"
)

// peer is one connection to a tracker or a floor, for one call at a time. It
// reads into a buffer of its own and allocates nothing, so that it costs the
// same on both.
type peer struct {
	conn net.Conn
	in   []byte
	have int
	stop func() bool
}

// dialPeer connects to a floor. The connection ends with ctx.
func dialPeer(ctx context.Context, addr string) (*peer, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &peer{
		conn: c, in: make([]byte, 4096),
		stop: context.AfterFunc(ctx, func() { _ = c.Close() }),
	}, nil
}

// dialTracker connects to a tracker and says hello.
func dialTracker(ctx context.Context, addr string) (*peer, error) {
	p, err := dialPeer(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := p.hello(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *peer) hello() error {
	answer, err := p.exchange(tvm.AppendTrackerMagic(nil), 4)
	if err != nil {
		return fmt.Errorf("tracker's hello: %w", err)
	}
	return tvm.CheckTrackerMagic([4]byte(answer))
}

func (p *peer) close() {
	p.stop()
	_ = p.conn.Close()
}

// exchange sends a message and reads an answer of a known length. The answer is
// valid until the next call.
func (p *peer) exchange(message []byte, answer int) ([]byte, error) {
	if _, err := p.conn.Write(message); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return p.read(answer)
}

// call sends a frame and reads one, whose payload it returns, valid until the
// next call.
func (p *peer) call(frame []byte) ([]byte, error) {
	if _, err := p.conn.Write(frame); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return p.frame()
}

// frame reads one frame and returns its payload.
func (p *peer) frame() ([]byte, error) {
	if err := p.fill(tvm.FrameHeader); err != nil {
		return nil, err
	}
	n, err := tvm.FrameLen([4]byte(p.in))
	if err != nil {
		return nil, err
	}
	frame, err := p.read(tvm.FrameHeader + n)
	if err != nil {
		return nil, err
	}
	return frame[tvm.FrameHeader:], nil
}

// read reads n bytes; what came beyond them is an error, because one call at a
// time leaves nothing over.
func (p *peer) read(n int) ([]byte, error) {
	if err := p.fill(n); err != nil {
		return nil, err
	}
	if p.have != n {
		return nil, fmt.Errorf("%d bytes came, want %d", p.have, n)
	}
	p.have = 0
	return p.in[:n], nil
}

func (p *peer) fill(n int) error {
	for p.have < n {
		if p.have == len(p.in) {
			p.in = append(p.in, make([]byte, len(p.in))...)
		}
		got, err := p.conn.Read(p.in[p.have:])
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		p.have += got
	}
	return nil
}

// errStatus says that the tracker did not answer 0.
var errStatus = errors.New("tracker's answer is not success")

// done sends a frame whose answer is a bare status, which must be success.
func (p *peer) done(frame []byte) error {
	payload, err := p.call(frame)
	if err != nil {
		return err
	}
	if string(payload) != "0" {
		return fmt.Errorf("%w: %.40q", errStatus, payload)
	}
	return nil
}

// Messages of a scripted server and client, as frames.

const scriptedPort = 9090

func infoFrame(key string) []byte {
	return tvm.AppendMessage(nil, tvm.UpdateInfo{Info: map[string]json.RawMessage{
		"key":  json.RawMessage(strconv.Quote("server:" + key)),
		"addr": json.RawMessage("[null, " + strconv.Itoa(scriptedPort) + "]"),
	}})
}

func putFrame(key, matchKey string) []byte {
	return tvm.AppendMessage(nil, tvm.Put{Key: key, Port: json.RawMessage(strconv.Itoa(scriptedPort)), MatchKey: matchKey})
}

func requestFrame(key string) []byte {
	return tvm.AppendMessage(nil, tvm.Request{Key: key})
}

// ticket is a match key of a fixed length, so that messages can be encoded once
// and patched.
func ticket(key string, n int) string { return fmt.Sprintf("%s:%08x", key, n) }

// offers is a scripted server that offers one device again and again.
type offers struct {
	*peer
	key string
	n   int
}

// dialServer registers a scripted server that has offered nothing yet.
func dialServer(ctx context.Context, addr, key string) (*offers, error) {
	p, err := dialTracker(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := p.done(infoFrame(key)); err != nil {
		p.close()
		return nil, fmt.Errorf("register: %w", err)
	}
	return &offers{peer: p, key: key}, nil
}

// offer puts the next ticket.
func (o *offers) offer() error {
	o.n++
	if err := o.done(putFrame(o.key, ticket(o.key, o.n))); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	return nil
}
