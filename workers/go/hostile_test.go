package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
)

// pipe serves one session in memory.
func pipe(tb testing.TB, s *worker.Server) (net.Conn, <-chan error) {
	tb.Helper()
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.ServeConn(context.Background(), server) }()
	tb.Cleanup(func() { client.Close() })
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	return client, done
}

func send(tb testing.TB, w io.Writer, f tvm.Flavour, p tvm.Packet) {
	tb.Helper()
	b, err := tvm.AppendPacket(nil, f, p)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
}

// receive returns the body of the next packet.
func receive(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	var head [tvm.PacketHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		tb.Fatal(err)
	}
	n, err := tvm.PacketLen(head, 1<<30)
	if err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		tb.Fatal(err)
	}
	return body
}

// ask sends a request and returns the reply.
func ask(tb testing.TB, c net.Conn, p tvm.Packet) tvm.Packet {
	tb.Helper()
	send(tb, c, tvm.FlavourC, p)
	reply, err := tvm.DecodePacket(tvm.FlavourC, receive(tb, c))
	if err != nil {
		tb.Fatal(err)
	}
	return reply
}

func initialized(tb testing.TB, s *worker.Server) (net.Conn, <-chan error) {
	tb.Helper()
	c, done := pipe(tb, s)
	ask(tb, c, tvm.InitServer{Version: tvm.ProtocolVersion})
	return c, done
}

// TestRequestsThatCannotBeDone are well formed: each is answered by an
// exception that says what is wrong, and the session goes on.
func TestRequestsThatCannotBeDone(t *testing.T) {
	cpu, gpu := tvm.Device{Type: 1}, tvm.Device{Type: 2}
	dev := tvm.DeviceOf(cpu)
	system := func(code tvm.RPCCode, args ...tvm.Value) tvm.Packet { return tvm.Syscall{Code: code, Args: args} }
	at := func(handle, offset uint64, d tvm.Device, shape ...int64) tvm.Tensor {
		return tvm.Tensor{Handle: handle, Device: d, DType: bytes8, Shape: shape, ByteOffset: offset}
	}
	const block = 128 // the first handle: 16 bytes
	cases := []struct {
		name   string
		packet tvm.Packet
		want   string
	}{
		{"call of nothing", tvm.CallFunc{Handle: 4711}, "no function has the handle 0x1267"},
		{"call of an array", tvm.CallFunc{Handle: block}, "no function has the handle 0x80"},
		{"second kInitServer", tvm.InitServer{Version: tvm.ProtocolVersion}, "already initialized"},
		{"look-up without a name", system(tvm.RPCGetGlobalFunc), "kGetGlobalFunc: got 0 arguments"},
		{"look-up of a number", system(tvm.RPCGetGlobalFunc, tvm.Int(1)), "kGetGlobalFunc: argument #0: want str, got int 1"},
		{"free of nothing", system(tvm.RPCFreeHandle, tvm.Handle(4711)), "kFreeHandle: no function or array object has the handle"},
		{"free of data as an object", system(tvm.RPCFreeHandle, tvm.Handle(block)), "kFreeHandle: no function or array object"},
		{"free of null data", system(tvm.RPCDevFreeData, dev, tvm.Null()), "kDevFreeData: no array has the data handle 0x0"},
		{"attribute of a device that is not there", system(tvm.RPCDevGetAttr, tvm.DeviceOf(gpu), tvm.Int(5)), "kDevGetAttr: device type 2 is not on this worker"},
		{"work on a device that is not there", system(tvm.RPCDevSetDevice, tvm.DeviceOf(gpu)), "kDevSetDevice: device type 2"},
		{"sync of a device that is not there", system(tvm.RPCDevStreamSync, tvm.DeviceOf(gpu), tvm.Null()), "kDevStreamSync: device type 2"},
		{"allocate all memory", system(tvm.RPCDevAllocData, dev, tvm.Int(1<<62), tvm.Int(64), tvm.DTypeOf(bytes8)), "kDevAllocData: 4611686018427387904 bytes of arrays are over the limit"},
		{"allocate less than nothing", system(tvm.RPCDevAllocData, dev, tvm.Int(-1), tvm.Int(64), tvm.DTypeOf(bytes8)), "cannot allocate -1 bytes"},
		{"allocate with an odd alignment", system(tvm.RPCDevAllocData, dev, tvm.Int(1), tvm.Int(3), tvm.DTypeOf(bytes8)), "with alignment 3"},
		{"allocate with a huge alignment", system(tvm.RPCDevAllocData, dev, tvm.Int(1), tvm.Int(1<<40), tvm.DTypeOf(bytes8)), "with alignment"},
		{"allocate in a scope that is not there", system(tvm.RPCDevAllocDataWithScope, tvm.TensorOf(at(0, 0, cpu, 4)), tvm.Str("texture")), `memory scope "texture"`},
		{"allocate a shape that overflows", system(tvm.RPCDevAllocDataWithScope, tvm.TensorOf(at(0, 0, cpu, 1<<40, 1<<40)), tvm.Null()), "exceeds 63 bits"},
		{"copy among arrays of different sizes", system(tvm.RPCCopyAmongRemote, tvm.TensorOf(at(block, 0, cpu, 8)), tvm.TensorOf(at(block, 8, cpu, 4)), tvm.Null()), "from has 8 bytes, to has 4"},
		{"copy from beyond the end", tvm.CopyFromRemote{Tensor: at(block, 0, cpu, 16), NBytes: 17}, "17 bytes at offset 0 of array 0x80 are out of bounds: it has 16 bytes"},
		{"copy from an offset beyond the end", tvm.CopyFromRemote{Tensor: at(block, 17, cpu, 0), NBytes: 0}, "out of bounds"},
		{"copy from an offset that overflows", tvm.CopyFromRemote{Tensor: at(block, 1<<64-1, cpu, 1), NBytes: 2}, "out of bounds"},
		{"copy from 16 EiB", tvm.CopyFromRemote{Tensor: at(block, 1, cpu, 16), NBytes: 1<<64 - 1}, "out of bounds"},
		{"copy from null", tvm.CopyFromRemote{Tensor: at(0, 0, cpu, 1), NBytes: 1}, "no array has the data handle 0x0"},
		{"copy from another device", tvm.CopyFromRemote{Tensor: at(block, 0, gpu, 1), NBytes: 1}, "device type 2"},
		{"copy to beyond the end", tvm.CopyToRemote{Tensor: at(block, 10, cpu, 16), Data: make([]byte, 7)}, "out of bounds"},
		{"copy to nothing", tvm.CopyToRemote{Tensor: at(4711, 0, cpu, 16), Data: make([]byte, 200_000)}, "no array has the data handle"},
		{"array argument of a negative shape", tvm.CallFunc{Handle: 256, Args: []tvm.Value{tvm.TensorOf(at(block, 0, cpu, -1))}}, "echo: argument #0"},
		{"function argument that is none", tvm.CallFunc{Handle: 256, Args: []tvm.Value{tvm.Func(block)}}, "echo: argument #0: no function has the handle"},
	}
	s := worker.New(tvm.FlavourC)
	register(t, s, map[string]any{"echo": func(x any) any { return x }})
	c, done := initialized(t, s)
	if got := ask(t, c, system(tvm.RPCDevAllocData, dev, tvm.Int(16), tvm.Int(64), tvm.DTypeOf(bytes8))); handleOf(got) != block {
		t.Fatalf("allocation answered by %v", got)
	}
	if got := ask(t, c, system(tvm.RPCGetGlobalFunc, tvm.Str("echo"))); handleOf(got) != 256 {
		t.Fatalf("look-up answered by %v", got)
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			e, ok := ask(t, c, k.packet).(tvm.Exception)
			if !ok || !strings.Contains(e.Text, k.want) {
				t.Errorf("got %q, want an exception with %q", e.Text, k.want)
			}
		})
	}
	send(t, c, tvm.FlavourC, tvm.Shutdown{})
	if err := <-done; err != nil {
		t.Errorf("session ended with %v, want in order", err)
	}
}

func handleOf(p tvm.Packet) uint64 {
	if r, ok := p.(tvm.Return); ok && len(r.Values) == 1 {
		return r.Values[0].Handle
	}
	return 0
}

// TestSyscallsOfACPU are the requests that TVM's clients send to a CPU.
func TestSyscallsOfACPU(t *testing.T) {
	dev, null := tvm.DeviceOf(tvm.Device{Type: 1}), tvm.Null()
	system := func(code tvm.RPCCode, args ...tvm.Value) tvm.Packet { return tvm.Syscall{Code: code, Args: args} }
	template := tvm.TensorOf(tvm.Tensor{Device: tvm.Device{Type: 1}, DType: float32s, Shape: []int64{2, 2}})
	c, _ := initialized(t, worker.New(tvm.FlavourC))
	cases := []struct {
		name   string
		packet tvm.Packet
		want   tvm.Value
	}{
		{"the CPU exists", system(tvm.RPCDevGetAttr, dev, tvm.Int(0)), tvm.Int(1)},
		{"so does CPU 5", system(tvm.RPCDevGetAttr, tvm.DeviceOf(tvm.Device{Type: 1, ID: 5}), tvm.Int(0)), tvm.Int(1)},
		{"a GPU does not", system(tvm.RPCDevGetAttr, tvm.DeviceOf(tvm.Device{Type: 2}), tvm.Int(0)), tvm.Int(0)},
		{"no warp size", system(tvm.RPCDevGetAttr, dev, tvm.Int(2)), null},
		{"set device", system(tvm.RPCDevSetDevice, dev), null},
		{"allocate", system(tvm.RPCDevAllocData, dev, tvm.Int(16), tvm.Int(64), tvm.DTypeOf(float32s)), tvm.Handle(128)},
		{"allocate with a scope", system(tvm.RPCDevAllocDataWithScope, template, tvm.Str("global")), tvm.Handle(256)},
		{"allocate with no scope", system(tvm.RPCDevAllocDataWithScope, template, null), tvm.Handle(384)},
		{"allocate nothing", system(tvm.RPCDevAllocData, dev, tvm.Int(0), tvm.Int(0), tvm.DTypeOf(float32s)), tvm.Handle(512)},
		{"free", system(tvm.RPCDevFreeData, dev, tvm.Handle(384)), null},
		{"create stream", system(tvm.RPCDevCreateStream, dev), tvm.Handle(0)},
		{"set stream", system(tvm.RPCDevSetStream, dev, tvm.Handle(0)), null},
		{"current stream", system(tvm.RPCDevGetCurrentStream, dev), tvm.Handle(0)},
		{"sync", system(tvm.RPCDevStreamSync, dev, null), null},
		{"free stream", system(tvm.RPCDevFreeStream, dev, tvm.Handle(0)), null},
	}
	for _, k := range cases {
		r, ok := ask(t, c, k.packet).(tvm.Return)
		if !ok || len(r.Values) != 1 || r.Values[0].Kind != k.want.Kind || r.Values[0].Int != k.want.Int || r.Values[0].Handle != k.want.Handle {
			t.Errorf("%s: got %+v, want %+v", k.name, r.Values, k.want)
		}
	}
	from := tvm.Tensor{Handle: 128, Device: tvm.Device{Type: 1}, DType: bytes8, Shape: []int64{16}}
	to := from
	to.Handle = 256
	ask(t, c, tvm.CopyToRemote{Tensor: from, Data: []byte("sixteen bytes ok")})
	ask(t, c, system(tvm.RPCCopyAmongRemote, tvm.TensorOf(from), tvm.TensorOf(to), null))
	if got, ok := ask(t, c, tvm.CopyFromRemote{Tensor: to, NBytes: 16}).(tvm.CopyAck); !ok || string(got.Data) != "sixteen bytes ok" {
		t.Errorf("copied among arrays: %q", got.Data)
	}
}

// TestBrokenSessions are bytes that are not the protocol: they end the session.
func TestBrokenSessions(t *testing.T) {
	packet := func(body ...byte) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(body))), body...)
	}
	code := func(c int32, rest ...byte) []byte {
		return packet(append(binary.LittleEndian.AppendUint32(nil, uint32(c)), rest...)...)
	}
	length := func(n uint64, rest ...byte) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	copyTo := make([]byte, 8+4+8+8+4+4+8+8) // with no dimensions, of 0 bytes
	binary.LittleEndian.PutUint64(copyTo, uint64(len(copyTo)-8))
	copyTo[8] = 7
	copyWith := func(at int, v uint32) []byte {
		b := append([]byte{}, copyTo...)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	cases := []struct {
		name   string
		bytes  []byte
		closes bool // the client closes after it
		want   string
	}{
		{"unknown code", code(99), false, "99"},
		{"code 0", code(0), false, "0"},
		{"negative code", code(-5), false, "-5"},
		{"a reply", code(4, 0, 0, 0, 0), false, "not a request"},
		{"a copy's reply", code(8), false, "not a request"},
		{"no code", packet(1, 2, 3), false, "packet of 3 bytes has no code"},
		{"more values than bytes", code(9, 255, 255, 0, 0), false, "truncated"},
		{"more values than there may be", code(9, 255, 255, 255, 127), false, "not within"},
		{"bytes after the last value", code(9, 0, 0, 0, 0, 1), false, "trailing"},
		{"packet over the limit", length(1<<62, 3, 0, 0, 0), false, "over this worker's limit"},
		{"copy that is too short", code(7, 1, 2, 3), false, "want at least"},
		{"copy to 2^31 dimensions", copyWith(28, 1<<31), false, "dimensions"},
		{"copy to more dimensions than bytes", copyWith(28, 3), false, "dimensions"},
		{"copy of other than the packet's bytes", copyWith(44, 4), false, "comes in a packet with 0"},
		{"EOF in a length", []byte{1, 2, 3}, true, "closed inside a packet"},
		{"EOF in a code", length(10, 3), true, "closed inside a packet"},
		{"EOF in a body", length(100, 3, 0, 0, 0, 1), true, "closed inside a packet"},
		{"EOF in a large body", length(100<<20, 3, 0, 0, 0, 1), true, "closed inside a packet"},
		{"EOF in a copy's head", copyTo[:20], true, "closed inside a packet"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn, done := initialized(t, worker.New(tvm.FlavourC))
			go func() {
				_, _ = conn.Write(c.bytes)
				if c.closes {
					conn.Close()
				}
			}()
			_, _ = io.Copy(io.Discard, conn)
			if err := <-done; !errors.Is(err, worker.ErrProtocol) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a protocol error with %q", err, c.want)
			}
		})
	}
	t.Run("anything before kInitServer", func(t *testing.T) {
		conn, done := pipe(t, worker.New(tvm.FlavourC))
		send(t, conn, tvm.FlavourC, tvm.CallFunc{Handle: 1})
		receive(t, conn)
		if err := <-done; !errors.Is(err, worker.ErrProtocol) || !strings.Contains(err.Error(), "not initialized") {
			t.Errorf("got %v, want a protocol error", err)
		}
	})
}

func TestLimits(t *testing.T) {
	s := worker.New(tvm.FlavourC)
	s.SetLimits(worker.Limits{Packet: 1000, Memory: 1000, Handles: 3})
	c, done := initialized(t, s)
	alloc := func(n int64) tvm.Packet {
		return ask(t, c, tvm.Syscall{Code: tvm.RPCDevAllocData, Args: []tvm.Value{
			tvm.DeviceOf(tvm.Device{Type: 1}), tvm.Int(n), tvm.Int(64), tvm.DTypeOf(bytes8),
		}})
	}
	free := func(h uint64) {
		ask(t, c, tvm.Syscall{Code: tvm.RPCDevFreeData, Args: []tvm.Value{tvm.DeviceOf(tvm.Device{Type: 1}), tvm.Handle(h)}})
	}
	first := handleOf(alloc(600))
	if e, ok := alloc(401).(tvm.Exception); !ok || !strings.Contains(e.Text, "401 bytes of arrays are over the limit: 600 of 1000 are in use") {
		t.Errorf("allocation over the limit: %v", e)
	}
	free(first)
	for range 3 {
		if handleOf(alloc(1)) == 0 {
			t.Fatal("allocation within the limits failed")
		}
	}
	if e, ok := alloc(1).(tvm.Exception); !ok || !strings.Contains(e.Text, "holds 3 handles already") {
		t.Errorf("handle over the limit: %v", e)
	}
	// A copy to an array is bounded by the array, not by the packet's limit.
	free(512)
	big := handleOf(alloc(998))
	data := tvm.CopyToRemote{
		Tensor: tvm.Tensor{Handle: big, Device: tvm.Device{Type: 1}, DType: bytes8, Shape: []int64{998}}, Data: make([]byte, 998),
	}
	if r, ok := ask(t, c, data).(tvm.Return); !ok {
		t.Errorf("copy larger than a packet: %v", r)
	}
	go func() {
		send(t, c, tvm.FlavourC, tvm.CallFunc{Handle: 1, Args: []tvm.Value{tvm.Bytes(make([]byte, 1000))}})
	}()
	if p, err := tvm.DecodePacket(tvm.FlavourC, receive(t, c)); err != nil || !strings.Contains(p.(tvm.Exception).Text, "over this worker's limit of 1000") {
		t.Errorf("packet over the limit: %v, %v", p, err)
	}
	if err := <-done; !errors.Is(err, worker.ErrProtocol) {
		t.Errorf("got %v, want a protocol error", err)
	}
}

// FuzzServeConn feeds a session whatever a client may send. It must end, by
// itself, without a panic, and within its limits.
func FuzzServeConn(f *testing.F) {
	init, _ := tvm.AppendPacket(nil, tvm.FlavourC, tvm.InitServer{Version: tvm.ProtocolVersion})
	add := func(packets ...tvm.Packet) {
		for _, flavour := range []tvm.Flavour{tvm.FlavourA, tvm.FlavourC} {
			b := append([]byte{byte(flavour)}, init...)
			for _, p := range packets {
				b, _ = tvm.AppendPacket(b, flavour, p)
			}
			f.Add(b)
		}
	}
	tensor := tvm.Tensor{Handle: 128, Device: tvm.Device{Type: 1}, DType: float32s, Shape: []int64{4}, ByteOffset: 4}
	alloc := tvm.Syscall{Code: tvm.RPCDevAllocData, Args: []tvm.Value{
		tvm.DeviceOf(tvm.Device{Type: 1}), tvm.Int(64), tvm.Int(64), tvm.DTypeOf(float32s),
	}}
	lookup := tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("echo")}}
	echo := func(args ...tvm.Value) tvm.Packet { return tvm.CallFunc{Handle: 128, Args: args} }
	add()
	add(tvm.Shutdown{})
	add(lookup, echo(tvm.Int(1)), echo(tvm.Str("text")), echo(tvm.Bytes(nil)), echo(tvm.Float(1.5)), echo(tvm.Func(128)))
	add(alloc, tvm.CopyToRemote{Tensor: tensor, Data: make([]byte, 16)}, tvm.CopyFromRemote{Tensor: tensor, NBytes: 16})
	add(alloc, lookup, tvm.CallFunc{Handle: 256, Args: []tvm.Value{tvm.TensorOf(tensor)}},
		tvm.Syscall{Code: tvm.RPCFreeHandle, Args: []tvm.Value{tvm.Handle(384)}})
	add(alloc, tvm.Syscall{Code: tvm.RPCCopyAmongRemote, Args: []tvm.Value{tvm.TensorOf(tensor), tvm.TensorOf(tensor), tvm.Null()}},
		tvm.Syscall{Code: tvm.RPCDevFreeData, Args: []tvm.Value{tvm.DeviceOf(tvm.Device{Type: 1}), tvm.Handle(128)}})
	f.Add([]byte{3, 255, 255, 255, 255, 255, 255, 255, 127, 7, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		s := worker.New(tvm.Flavour(b[0] % 4))
		s.SetLimits(worker.Limits{Packet: 1 << 16, Memory: 1 << 16, Handles: 64})
		register(t, s, map[string]any{"echo": func(x any) any { return x }})
		if err := s.ServeConn(context.Background(), &tape{in: b[1:]}); err != nil && !errors.Is(err, worker.ErrProtocol) {
			t.Errorf("session ended with %v", err)
		}
	})
}

// tape is a connection on which the client has said everything already.
type tape struct{ in []byte }

func (t *tape) Read(p []byte) (int, error) {
	n := copy(p, t.in)
	t.in = t.in[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
func (t *tape) Write(p []byte) (int, error) { return len(p), nil }
func (t *tape) Close() error                { return nil }
