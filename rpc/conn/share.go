package conn

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/ring"
)

// Two processes that have agreed on [frame.FeatureRing] get memory right behind the handshake:
//
//	client                                                         server
//	   │ 1, and with it a descriptor of the memory; 0: there is none  │
//	   ├─────────────────────────────────────────────────────────────▶│
//	   │ 1: it is mapped; 0: all goes by the socket                   │
//	   │◀─────────────────────────────────────────────────────────────┤

// passer is a Unix socket, which descriptors can go by.
type passer interface {
	ring.Bell
	WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error)
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

// rings tells which feature a connection has that may go by memory.
func rings(nc net.Conn, opts *Options) frame.Features {
	if _, can := nc.(passer); can && opts.Ring {
		return frame.FeatureRing
	}
	return 0
}

// share has a connection go by memory from now on, if that was agreed on, and both sides can have it: exchange is
// [passMemory] or [receiveMemory].
func (c *Conn) share(ctx context.Context, exchange func(passer) (*ring.Memory, error)) error {
	nc, can := c.nc.(passer)
	if !can || c.ack.Features&frame.FeatureRing == 0 {
		return nil
	}
	var m *ring.Memory
	err := shake(ctx, nc, c.opts.Handshake, func() (err error) {
		m, err = exchange(nc)
		return err
	})
	if err != nil {
		if m != nil {
			_ = m.Close()
		}
		return fmt.Errorf("memory of the connection: %w", err)
	}
	c.shared = m
	return nil
}

// passMemory is the client's side. It returns nil where there is to be no memory.
func passMemory(nc passer) (*ring.Memory, error) {
	m, f, err := ring.New()
	if err != nil { // a system that has none, or does not let us
		_, err = nc.Write([]byte{0})
		return nil, err //nolint:wrapcheck // share does
	}
	defer f.Close() //nolint:errcheck // the peer has it, or nobody
	said := []byte{1}
	if _, _, err = nc.WriteMsgUnix(said, syscall.UnixRights(int(f.Fd())), nil); err == nil {
		_, err = io.ReadFull(nc, said)
	} else { // too many descriptors are on their way to others
		said[0] = 0
		_, err = nc.Write(said)
	}
	if err == nil && said[0] == 1 {
		return m, nil
	}
	_ = m.Close()
	return nil, err //nolint:wrapcheck // share does
}

// receiveMemory is the server's side.
func receiveMemory(nc passer) (m *ring.Memory, err error) {
	said, oob := []byte{0}, make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := nc.ReadMsgUnix(said, oob)
	switch {
	case err != nil:
		return nil, err //nolint:wrapcheck // share does
	case n == 0:
		return nil, io.EOF
	case said[0] == 0:
		return nil, nil
	}
	said[0] = 0
	if f := received(oob[:oobn]); f != nil {
		if m, err = ring.Map(f); err == nil {
			said[0] = 1
		}
	}
	if _, err = nc.Write(said); err != nil && m != nil {
		_ = m.Close()
		m = nil
	}
	return m, err //nolint:wrapcheck // share does
}

// received takes a descriptor out of control messages; nil: there is none, as there was none free.
func received(oob []byte) *os.File {
	messages, _ := syscall.ParseSocketControlMessage(oob)
	for i := range messages {
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil && len(fds) > 0 {
			for _, fd := range fds[1:] {
				_ = syscall.Close(fd)
			}
			return os.NewFile(uintptr(fds[0]), "memory of a channel")
		}
	}
	return nil
}

// goByMemory makes the memory what is read and written, and the socket its bell.
func (c *Conn) goByMemory() {
	r, err := ring.Over(c.shared, c.nc.(ring.Bell)) //nolint:forcetypeassert // share has looked
	if err != nil {
		_ = c.shared.Close()
		c.end(err)
		return
	}
	c.goBy(r)
	c.rd.bite = ringBite
}
