package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
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

// serveRelay passes what comes on to a server of raw's, which is another process, and back what
// that answers: it is what a call to a worker cannot do without.
func serveRelay(l net.Listener) error {
	dir, err := os.MkdirTemp("", "bench-rpc")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	behind, err := startServer(peer{name: "raw"}, "unix", filepath.Join(dir, "raw"))
	if err != nil {
		return err
	}
	defer behind.stop()
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		far, err := dialOne("unix", behind.addr)
		if err != nil {
			return err
		}
		go relay(near, far)
		go relay(far, near)
	}
}

func relay(from, to net.Conn) {
	buf := make([]byte, 1<<20)
	for {
		n, err := from.Read(buf)
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}
