package main

import (
	"context"
	"errors"
	"net"
	"sync"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// echoHandler answers calls with their own bodies.
type echoHandler struct {
	spawn bool
	pool  sync.Pool
}

func (h *echoHandler) Message(p conn.Peer, in *conn.In) {
	if in.Type != frame.TypeCall {
		return
	}
	if h.spawn {
		kept := in.Keep()
		go h.answer(p, kept)
		return
	}
	if len(in.Body) < conn.LongBody {
		m := h.reply(in)
		err := p.Queue(m)
		h.pool.Put(m)
		if err == nil {
			return
		}
	}
	kept := in.Keep()
	m := h.reply(kept)
	m.Owner = kept
	if p.Queue(m) != nil {
		go h.answer(p, kept)
	}
	h.pool.Put(m)
}

func (h *echoHandler) answer(p conn.Peer, in *conn.In) {
	m := h.reply(in)
	m.Owner = in
	_ = p.Send(context.Background(), m)
	h.pool.Put(m)
}

func (h *echoHandler) reply(in *conn.In) *conn.Message {
	m, ok := h.pool.Get().(*conn.Message)
	if !ok {
		m = &conn.Message{}
	}
	*m = conn.Message{Header: frame.Header{Type: frame.TypeReply, Priority: in.Priority, Seq: in.Seq}, Body: in.Body}
	return m
}

func (*echoHandler) Closed(conn.Peer, error, []uint64) {}

func serveNative(spawn bool) func(net.Listener) error {
	return func(l net.Listener) error {
		s, err := conn.NewServer(conn.ServerOptions{Handler: &echoHandler{spawn: spawn}, Admit: func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{})
		}})
		if err != nil {
			return err
		}
		return s.Serve(l)
	}
}

// pending is a call that waits. Its place in the table is in the seq.
type pending struct {
	m       conn.Message
	done    chan int
	arrived func() bool
}

const places = 64

// nativeClient matches replies to calls by the place of the caller.
type nativeClient struct {
	c     *conn.Conn
	calls [places]pending
}

func dialNative(network, addr string, _ int) (client, error) {
	nc, err := dialOne(network, addr)
	if err != nil {
		return nil, err
	}
	conn.Tune(nc)
	c := &nativeClient{}
	for i := range c.calls {
		done := make(chan int, 1)
		c.calls[i].done = done
		c.calls[i].arrived = func() bool { return len(done) > 0 }
		c.calls[i].m = conn.Message{Header: frame.Header{Type: frame.TypeCall, Priority: frame.PriorityNormal, Seq: uint64(i)}, Ext: frame.Ext{Method: 1}}
	}
	c.c, err = conn.Connect(context.Background(), nc, frame.Hello{}, c, conn.Options{})
	return c, err
}

func (c *nativeClient) Message(_ conn.Peer, in *conn.In) {
	if in.Type == frame.TypeReply {
		if p := &c.calls[in.Seq%places]; p.m.Seq == in.Seq {
			p.done <- len(in.Body)
		}
	}
}

func (c *nativeClient) Closed(conn.Peer, error, []uint64) {
	for i := range c.calls {
		close(c.calls[i].done)
	}
}

func (c *nativeClient) call(i int, in []byte) (int, error) {
	p := &c.calls[i]
	p.m.Seq += places
	p.m.Body = in
	if !c.c.Hold() {
		return 0, conn.ErrClosed
	}
	defer c.c.Release()
	if err := c.c.Send(context.Background(), &p.m); err != nil {
		return 0, err
	}
	c.c.ReadUntil(context.Background(), p.arrived)
	n, ok := <-p.done
	if !ok {
		return 0, errors.New("connection is lost")
	}
	return n, nil
}

func (c *nativeClient) close() error { return c.c.Close() }
