package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"rpcpool.dev/tvm"
)

const (
	codeSize = 4 // the i32 that every packet starts with
	// trusted is how much of a packet is allocated on its length alone, in
	// bytes; beyond, the buffer grows as the bytes arrive.
	trusted = 1 << 20
	// shutdownTimeout bounds the sending of kShutdown.
	shutdownTimeout = time.Second
)

// Session is an open session. Its methods may be called concurrently and take
// their turns.
type Session struct {
	conn    net.Conn
	addr    string
	flavour tvm.Flavour

	turn      sync.Mutex // held for one request and its reply
	in        *bufio.Reader
	out       []byte
	functions map[string]*Func // by name, looked up before

	state sync.Mutex
	lost  error // why no call can succeed any more
}

// Server returns the server's address, host:port.
func (s *Session) Server() string { return s.addr }

// Flavour returns the flavour that the session speaks.
func (s *Session) Flavour() tvm.Flavour { return s.flavour }

// NetConn returns the connection, for measuring and for tests: whoever reads
// or writes it breaks the session.
func (s *Session) NetConn() net.Conn { return s.conn }

// Close ends the session. A call that is outstanding fails. Closing twice is
// harmless.
func (s *Session) Close() error {
	if !s.lose(fmt.Errorf("%w: %w", ErrSessionLost, net.ErrClosed)) {
		return nil
	}
	if s.turn.TryLock() {
		defer s.turn.Unlock()
		_ = s.conn.SetDeadline(time.Now().Add(shutdownTimeout))
		if packet, err := tvm.AppendPacket(nil, s.flavour, tvm.Shutdown{}); err == nil {
			_, _ = s.conn.Write(packet) // a server that is gone needs none
		}
	}
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	return nil
}

// lose makes every later call fail with err; it reports false if one reason
// exists already.
func (s *Session) lose(err error) bool {
	s.state.Lock()
	defer s.state.Unlock()
	if s.lost != nil {
		return false
	}
	s.lost = err
	return true
}

func (s *Session) lostError() error {
	s.state.Lock()
	defer s.state.Unlock()
	return s.lost
}

// request sends a packet and returns the values of the reply.
func (s *Session) request(ctx context.Context, p tvm.Packet) ([]tvm.Value, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.lostError(); err != nil {
		return nil, err
	}
	packet, err := tvm.AppendPacket(s.out[:0], s.flavour, p)
	if err != nil {
		return nil, err
	}
	if cap(packet) <= trusted {
		s.out = packet[:0]
	}
	body, err := s.roundTrip(ctx, packet)
	if err != nil {
		return nil, err
	}
	return s.values(body)
}

// values decodes a reply.
func (s *Session) values(body []byte) ([]tvm.Value, error) {
	p, err := tvm.DecodePacket(s.flavour, body)
	if err != nil {
		return nil, s.abandon(broken("reply: %w", err))
	}
	switch p := p.(type) {
	case tvm.Return:
		return p.Values, nil
	case tvm.Exception:
		return nil, &RemoteError{Text: p.Text}
	case tvm.Shutdown: // how the stock runtime reads an EOF, and what a peer may mean by it
		return nil, s.abandon(lost(errors.New("server sent kShutdown")))
	default:
		return nil, s.abandon(broken("%s is no reply", p.RPCCode()))
	}
}

// roundTrip sends a request, perhaps in parts, and returns the reply's body.
// The caller has the turn.
func (s *Session) roundTrip(ctx context.Context, request ...[]byte) (body []byte, err error) {
	err = s.exchange(ctx, request, func() error {
		n, err := s.replyLength()
		if err == nil {
			body, err = s.read(n)
		}
		return err
	})
	return body, err
}

// exchange writes the request and has the reply read. A server that ended the
// session may have said why before it closed, so a failed write still reads.
func (s *Session) exchange(ctx context.Context, request [][]byte, read func() error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	err := interruptible(ctx, s.conn, func() error {
		buffers := net.Buffers(request)
		_, writeErr := buffers.WriteTo(s.conn)
		err := read()
		if err != nil && writeErr != nil {
			return lost(writeErr)
		}
		return err
	})
	if err != nil {
		return s.abandon(err)
	}
	return nil
}

// abandon closes the connection and makes err the answer of this call, and
// [ErrSessionLost] that of all later ones.
func (s *Session) abandon(err error) error {
	if !s.lose(lost(err)) {
		return lost(err) // closed meanwhile
	}
	_ = s.conn.Close()
	return err
}

// replyLength reads the length of the next packet that is not empty.
func (s *Session) replyLength() (uint64, error) {
	for {
		head, err := s.in.Peek(tvm.PacketHeader)
		if err != nil {
			return 0, lost(eof(err))
		}
		n := binary.LittleEndian.Uint64(head)
		_, _ = s.in.Discard(tvm.PacketHeader)
		if n > 0 {
			return n, nil
		}
	}
}

// read returns the next n bytes in a buffer that is never much larger than what
// has arrived.
func (s *Session) read(n uint64) ([]byte, error) {
	if n <= trusted {
		body := make([]byte, n)
		if _, err := io.ReadFull(s.in, body); err != nil {
			return nil, lost(eof(err))
		}
		return body, nil
	}
	const most = 1 << 47 // no address space has more
	if n > most {
		return nil, broken("reply of %d bytes", n)
	}
	var b bytes.Buffer
	b.Grow(trusted)
	if _, err := io.CopyN(&b, s.in, int64(n)); err != nil {
		return nil, lost(eof(err))
	}
	return b.Bytes(), nil
}

// eof makes the end of the connection the error that it is in a reply.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// putLength writes the length of packet into it.
func putLength(packet []byte) {
	binary.LittleEndian.PutUint64(packet, uint64(len(packet)-tvm.PacketHeader))
}
