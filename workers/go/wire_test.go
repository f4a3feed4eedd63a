package worker_test

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
)

// TestNothingIsAllocatedOnAPeersWord: packets that promise much and bring
// little.
func TestNothingIsAllocatedOnAPeersWord(t *testing.T) {
	init, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.InitServer{Version: tvm.ProtocolVersion})
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]tvm.RPCCode{
		"call": tvm.RPCCallFunc, "copy to an array": tvm.RPCCopyToRemote, "look-up": tvm.RPCGetGlobalFunc, "first packet": tvm.RPCInitServer,
	} {
		t.Run(name, func(t *testing.T) {
			in := init
			if code == tvm.RPCInitServer {
				in = nil
			}
			in = binary.LittleEndian.AppendUint64(append([]byte{}, in...), 3<<30)
			in = binary.LittleEndian.AppendUint32(in, uint32(code))
			in = append(in, make([]byte, 100)...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := worker.New(tvm.FlavourC).ServeConn(context.Background(), &tape{in: in}); err == nil {
				t.Error("a packet that was cut is in order")
			}
			runtime.ReadMemStats(&after)
			const most = 4 << 20
			if n := after.TotalAlloc - before.TotalAlloc; n > most {
				t.Errorf("%d bytes were allocated for a packet of 100", n)
			}
		})
	}
}

// TestClientThatWritesInTwoSends is a stock client: the length of a packet and
// its body come in two sends, with Nagle's algorithm on. If the worker's kernel
// delayed its ACK of the first, every call would cost 40 ms.
func TestClientThatWritesInTwoSends(t *testing.T) {
	connected := make(chan *net.TCPConn, 1)
	f := sessionFile(t, func(addr string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = c.Write(tvm.AppendClientHello(nil, "k:1", 0))
		connected <- c.(*net.TCPConn)
	})
	start(t, f, "RPCPOOL_SESSION=fd")
	conn := <-connected
	defer conn.Close()
	if err := conn.SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, len(tvm.AppendAccept(nil, "test")))); err != nil {
		t.Fatal(err)
	}
	send(t, conn, tvm.FlavourC, tvm.InitServer{Version: tvm.ProtocolVersion})
	receive(t, conn)
	request, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.Syscall{
		Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("tvm.rpc.server.GetCRTMaxPacketSize")},
	})
	if err != nil {
		t.Fatal(err)
	}
	// A new connection acknowledges its first segments at once by itself.
	best := patience
	for i := range 60 {
		began := time.Now()
		for _, part := range [][]byte{request[:8], request[8:]} {
			if _, err := conn.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, conn)
		if i >= 40 {
			best = min(best, time.Since(began))
		}
	}
	if best > 20*time.Millisecond {
		t.Errorf("the fastest of 20 calls took %v: the worker's ACKs are late", best)
	}
}

// TestSessionDescriptorIsMadeBlocking: one that an agent forgot to make so.
func TestSessionDescriptorIsMadeBlocking(t *testing.T) {
	f, session := dialing(t)
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fds := os.NewFile(uintptr(fd), "session")
	// Warm: the exec package makes blocking what it hands down itself.
	p, agent := spare(t)
	raw, err := fds.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	defer fds.Close()
	if err := raw.Control(func(fd uintptr) {
		_, _, err = agent.WriteMsgUnix([]byte(`S{"id":"s1"}`), unix.UnixRights(int(fd)), nil)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := session()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		t.Error("the worker left the session non-blocking")
	}
	if got := call(t, s, "test.addone", 41); got != int64(42) {
		t.Errorf("got %v", got)
	}
	s.Close()
	p.wantExit(t, worker.ExitOK)
}
