package ring

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/socket"
)

// roomAgain is when who waits for room looks again, although nobody has told it of some: it is told by
// who reads here, and for a moment that may be nobody. Then it looks half as often each time, down to every
// roomSeldom: the peer may be stopped.
const (
	roomAgain  = time.Millisecond
	roomSeldom = 16 * time.Millisecond
)

// bell is the byte that is on the socket: whoever else writes there is found out.
const bell = 0

// Bell is a connected Unix stream socket, by which nothing else comes.
type Bell interface {
	net.Conn
	syscall.Conn
}

// Conn is a stream connection by memory. At most one goroutine reads at a time, and one writes.
type Conn struct {
	Bell

	raw   syscall.RawConn       // the socket
	knock func(fd uintptr) bool // rings; made once, so that nothing is allocated
	mem   *Memory
	users socket.Users // of the memory: the open connection, and each call that uses it

	in  consumer
	out producer

	ears [4 << 10]byte // bells are read to

	starved atomic.Bool   // the writer waits for room
	roomy   chan struct{} // maybe there is some
	over    chan struct{} // closed when the connection is
	once    sync.Once

	born            time.Time
	readBy, writeBy socket.Deadline
}

// Over makes a connection of memory that nobody uses yet, and the socket to the process that has it, too. Both
// belong to the connection.
func Over(m *Memory, nc Bell) (*Conn, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err //nolint:wrapcheck // as the socket itself
	}
	r := ways(m.b)
	if !m.maker {
		r[0], r[1] = r[1], r[0]
	}
	c := &Conn{
		Bell: nc, raw: raw, mem: m, born: time.Now(),
		out: producer{ring: r[0], limit: Size}, in: consumer{ring: r[1]},
		roomy: make(chan struct{}, 1), over: make(chan struct{}),
	}
	one := []byte{bell}
	c.knock = func(fd uintptr) bool {
		for {
			if _, err := socket.TryWrite(int(fd), one); !errors.Is(err, unix.EINTR) {
				return true // a socket that is full has bells enough
			}
		}
	}
	c.users.Open()
	return c, nil
}

func (c *Conn) unuse() {
	if c.users.Done() {
		_ = c.mem.Close()
	}
}

// TryRead reads what there is, without waiting: nothing, and no error, if there is nothing.
func (c *Conn) TryRead(p []byte) (n int, err error) {
	if !c.users.Use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	return c.tryRead(p)
}

func (c *Conn) tryRead(p []byte) (n int, err error) {
	if c.readBy.Over(c.born) {
		return 0, os.ErrDeadlineExceeded
	}
	return c.take(p)
}

// take tells the peer of room, if it waits for some, and our own writer, who may have been told meanwhile.
func (c *Conn) take(p []byte) (n int, err error) {
	n, err = c.in.take(p)
	if n == 0 {
		return 0, err
	}
	if rung(c.in.wants) {
		_ = c.raw.Write(c.knock)
	}
	c.tellRoom()
	return n, err
}

// tellRoom tells our own writer, if it waits, that there may be room.
func (c *Conn) tellRoom() {
	if !c.starved.Load() {
		return
	}
	select {
	case c.roomy <- struct{}{}:
	default:
	}
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (n int, err error) {
	if !c.users.Use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	for len(p) > 0 {
		if n, err = c.tryRead(p); n > 0 || err != nil {
			return n, err
		}
		if err = c.sleep(); err != nil {
			if n, broken := c.take(p); n > 0 || broken != nil { // it was written before the end
				return n, broken
			}
			return 0, err
		}
	}
	return 0, nil
}

// sleep waits until the bell rings, unless something is there.
func (c *Conn) sleep() error {
	c.in.asleep.Store(1)
	there, err := c.in.there()
	if there == 0 && err == nil {
		var n int
		n, err = c.Bell.Read(c.ears[:])
		if errors.Is(err, unix.ECONNRESET) {
			err = io.EOF // it has left bells of ours unread: nothing that was to be read is lost
		}
		c.tellRoom() // of which the bell may be
		for _, b := range c.ears[:n] {
			if b != bell {
				err = fmt.Errorf("%w: there is %#x on the socket, which is no bell", ErrPeer, b)
			}
		}
	}
	c.in.asleep.Store(0)
	return err
}

// ReadSome reads into several slices, one after the other. It waits for something.
func (c *Conn) ReadSome(p [][]byte) (n int, err error) {
	for _, b := range p {
		var m int
		if n == 0 {
			m, err = c.Read(b)
		} else {
			m, err = c.TryRead(b)
		}
		n += m
		if m < len(b) {
			break
		}
	}
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, err
}

// TryWrite writes what there is room for of several slices, without waiting.
func (c *Conn) TryWrite(p [][]byte) (n int, err error) {
	if !c.users.Use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	return c.tryWrite(p)
}

func (c *Conn) tryWrite(p [][]byte) (n int, err error) {
	for _, b := range p {
		m, broken := c.out.put(b)
		n += m
		if err = broken; m < len(b) {
			break
		}
	}
	if n > 0 && rung(c.out.asleep) {
		_ = c.raw.Write(c.knock) // whether the peer is gone the reader finds out: it may have taken this before
	}
	return n, err
}

// WriteSome is TryWrite, but waits until there is room for something, or the deadline is over.
func (c *Conn) WriteSome(p [][]byte) (n int, err error) {
	if !c.users.Use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	if n, err = c.tryWrite(p); n > 0 || err != nil {
		return n, err
	}
	c.starved.Store(true)
	defer func() {
		c.out.wants.Store(0)
		c.starved.Store(false)
	}()
	again := roomAgain
	timer := time.NewTimer(again)
	defer timer.Stop()
	for ; ; again = min(2*again, roomSeldom) {
		c.out.wants.Store(1)
		if n, err = c.tryWrite(p); n > 0 || err != nil {
			return n, err
		}
		if c.writeBy.Over(c.born) {
			return 0, os.ErrDeadlineExceeded
		}
		timer.Reset(again)
		select {
		case <-c.roomy:
		case <-timer.C:
		case <-c.over:
			return 0, net.ErrClosed
		}
	}
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.WriteSome([][]byte{p[n:]})
		n += m
	}
	return n, err
}

// Close implements [net.Conn]. The memory is unmapped when nobody uses it any more.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		close(c.over)
		err = c.Bell.Close()
		c.unuse()
	})
	return err //nolint:wrapcheck // as the socket itself
}

// CloseWrite tells the peer that nothing more will come.
func (c *Conn) CloseWrite() error {
	half, can := c.Bell.(interface{ CloseWrite() error })
	if !can {
		return errors.ErrUnsupported
	}
	return half.CloseWrite() //nolint:wrapcheck // as the socket itself
}

// SetWriteBuffer bounds how much may be on its way, in bytes.
func (c *Conn) SetWriteBuffer(bytes int) error {
	c.out.limit = min(bytes, Size)
	return nil
}

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readBy.Set(t, c.born)
	return c.Bell.SetReadDeadline(t) //nolint:wrapcheck // as the socket itself
}

// SetWriteDeadline implements [net.Conn]. Nobody writes to the socket who could wait.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.Set(t, c.born)
	return nil
}
