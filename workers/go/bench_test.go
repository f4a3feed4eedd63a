package worker

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
)

// tcpPair returns the two ends of a loopback connection with TCP_NODELAY as
// blocking descriptors.
func tcpPair(tb testing.TB) (client, server int) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return blockingFD(tb, c), blockingFD(tb, s)
}

func blockingFD(tb testing.TB, c net.Conn) int {
	tb.Helper()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		tb.Fatal(err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		tb.Fatal(err)
	}
	f.Close()
	c.Close()
	if err := syscall.SetNonblock(fd, false); err != nil {
		tb.Fatal(err)
	}
	return fd
}

// pingPong writes request and reads a reply of size bytes, b.N times.
func pingPong(b *testing.B, fd int, request []byte, size int) {
	b.Helper()
	s := &socket{fd: fd}
	reply := make([]byte, size)
	for b.Loop() {
		if _, err := s.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(s, reply); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip compares one call of a session with the floor of the same
// run: a ping-pong of as many bytes that nobody looks at.
func BenchmarkRoundTrip(b *testing.B) {
	call, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.CallFunc{Handle: handleStep, Args: []tvm.Value{tvm.Int(41)}})
	if err != nil {
		b.Fatal(err)
	}
	answer, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.Return{Values: []tvm.Value{tvm.Int(1), tvm.Int(42)}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("floor", func(b *testing.B) {
		client, server := tcpPair(b)
		go func() {
			s := &socket{fd: server}
			defer s.Close()
			buf := make([]byte, 4096)
			for {
				if n, err := s.Read(buf); err != nil || n != len(call) {
					return
				}
				if _, err := s.Write(answer); err != nil {
					return
				}
			}
		}()
		pingPong(b, client, call, len(answer))
		syscall.Close(client)
	})
	serve := map[string]func(fd int) io.ReadWriteCloser{
		"blocking": func(fd int) io.ReadWriteCloser { return &socket{fd: fd} },
		"file":     func(fd int) io.ReadWriteCloser { return os.NewFile(uintptr(fd), "session") },
		"netpoll": func(fd int) io.ReadWriteCloser {
			c, err := net.FileConn(os.NewFile(uintptr(fd), "session"))
			if err != nil {
				b.Fatal(err)
			}
			return c
		},
	}
	for _, name := range []string{"blocking", "file", "netpoll"} {
		b.Run("session/"+name, func(b *testing.B) {
			client, server := tcpPair(b)
			s := New(tvm.FlavourC)
			if err := s.Register("addone", func(x int64) int64 { return x + 1 }); err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			rw := serve[name](server)
			go func() { done <- s.ServeConn(context.Background(), rw) }()
			begin(b, &socket{fd: client}, tvm.FlavourC, "addone")
			pingPong(b, client, call, len(answer))
			syscall.Close(client)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkCopy compares the copying of a MiB to and from an array with the
// floor of the same run: as many bytes through a connection, read and thrown
// away, or written from a buffer.
func BenchmarkCopy(b *testing.B) {
	const size = 1 << 20
	tensor := tvm.Tensor{
		Handle: handleStep, Device: tvm.Device{Type: tvm.DeviceCPU}, Shape: []int64{size},
		DType: tvm.DataType{Code: tvm.DTypeUInt, Bits: 8, Lanes: 1},
	}
	packet := func(p tvm.Packet) []byte {
		request, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
		if err != nil {
			b.Fatal(err)
		}
		return request
	}
	const ackSize, returnSize = tvm.PacketHeader + codeSize + size, 20
	for _, c := range []struct {
		name    string
		request []byte
		reply   int
	}{
		{"to", packet(tvm.CopyToRemote{Tensor: tensor, Data: make([]byte, size)}), returnSize},
		{"from", packet(tvm.CopyFromRemote{Tensor: tensor, NBytes: size}), ackSize},
	} {
		b.Run(c.name+"/floor", func(b *testing.B) {
			b.SetBytes(size)
			client, server := tcpPair(b)
			go func() {
				s := &socket{fd: server}
				defer s.Close()
				in, out := make([]byte, len(c.request)), make([]byte, c.reply)
				for {
					if _, err := io.ReadFull(s, in); err != nil {
						return
					}
					if _, err := s.Write(out); err != nil {
						return
					}
				}
			}()
			pingPong(b, client, c.request, c.reply)
			syscall.Close(client)
		})
		b.Run(c.name+"/session", func(b *testing.B) {
			b.SetBytes(size)
			client, server := tcpPair(b)
			done := make(chan error, 1)
			go func() { done <- New(tvm.FlavourC).ServeConn(context.Background(), &socket{fd: server}) }()
			s := &socket{fd: client}
			begin(b, s, tvm.FlavourC, "absent")
			alloc := packet(tvm.Syscall{Code: tvm.RPCDevAllocData, Args: []tvm.Value{
				tvm.DeviceOf(tensor.Device), tvm.Int(size), tvm.Int(alignment), tvm.DTypeOf(tensor.DType),
			}})
			if _, err := s.Write(alloc); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 28)); err != nil {
				b.Fatal(err)
			}
			pingPong(b, client, c.request, c.reply)
			syscall.Close(client)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// begin initialises a session and looks a function up; its handle is the first.
func begin(tb testing.TB, rw io.ReadWriter, f tvm.Flavour, name string) {
	tb.Helper()
	for _, p := range []tvm.Packet{
		tvm.InitServer{Version: tvm.ProtocolVersion},
		tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str(name)}},
	} {
		request, err := tvm.AppendPacket(nil, f, p)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := rw.Write(request); err != nil {
			tb.Fatal(err)
		}
		head := make([]byte, 8)
		if _, err := io.ReadFull(rw, head); err != nil {
			tb.Fatal(err)
		}
		n, _ := tvm.PacketLen([8]byte(head), 1<<20)
		if _, err := io.ReadFull(rw, make([]byte, n)); err != nil {
			tb.Fatal(err)
		}
	}
}
