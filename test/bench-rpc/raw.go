package main

import (
	"encoding/binary"
	"io"
	"net"
)

// Raw echoes whatever comes: the length is known to both sides, because the
// client says it once, when it connects.

func serveRaw(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = echoRaw(nc)
			_ = nc.Close()
		}()
	}
}

func echoRaw(nc net.Conn) error {
	var head [4]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return err
	}
	buf := make([]byte, binary.LittleEndian.Uint32(head[:]))
	for {
		if _, err := io.ReadFull(nc, buf); err != nil {
			return err
		}
		if _, err := nc.Write(buf); err != nil {
			return err
		}
	}
}

type rawClient struct {
	closers
	buf [][]byte
}

func dialRaw(network, addr string, callers int) (client, error) {
	all, err := dialAll(network, addr, callers)
	return &rawClient{all, make([][]byte, callers)}, err
}

func (c *rawClient) call(i int, in []byte) (int, error) {
	nc := c.closers[i]
	if c.buf[i] == nil {
		c.buf[i] = make([]byte, len(in))
		if _, err := nc.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(in)))); err != nil {
			return 0, err
		}
	}
	if _, err := nc.Write(in); err != nil {
		return 0, err
	}
	return io.ReadFull(nc, c.buf[i])
}
