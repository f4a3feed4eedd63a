package tracker

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

func TestRow001_TrackerMagic(t *testing.T) {
	h := start(t, Options{})
	w := h.dial()
	w.write(magicBytes)
	w.wantBytes(magicBytes)
	w.wantOpen() // nothing else had come
}

func TestRow002_BadMagic(t *testing.T) {
	for name, first := range map[string]string{
		"the servers' magic": "\x71\xf2\x0f\x00",
		"zeroes":             "\x00\x00\x00\x00",
		"HTTP":               "GET / HTTP/1.1\r\nHost: tracker\r\n\r\n",
		"TLS ClientHello":    "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Options{})
			good := h.join()
			bad := h.dial()
			bad.write([]byte(first))
			bad.wantClosed()
			good.wantOpen()
			eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectBadMagic) }, 1)
		})
	}
}

func TestRow003_MagicInPiecesAndCoalesced(t *testing.T) {
	h := start(t, Options{})
	t.Run("two segments", func(t *testing.T) {
		w := h.dial()
		w.write(magicBytes[:2])
		h.join().wantOpen() // the tracker has had time to read the first half
		w.write(magicBytes[2:])
		w.wantBytes(magicBytes)
		w.wantOpen()
	})
	t.Run("with a frame", func(t *testing.T) {
		w := h.dial()
		w.write(tvm.AppendFrame(append([]byte{}, magicBytes...), []byte("[1]")))
		w.wantBytes(magicBytes)
		w.want("0")
	})
	t.Run("with a frame's first half", func(t *testing.T) {
		w := h.dial()
		both := tvm.AppendFrame(append([]byte{}, magicBytes...), []byte("[1]"))
		w.write(both[:9])
		w.wantBytes(magicBytes)
		w.write(both[9:])
		w.want("0")
	})
}

func TestRow004_SilentPeers(t *testing.T) {
	t.Run("closed at the handshake deadline", func(t *testing.T) {
		h := start(t, Options{HandshakeTimeout: 50 * time.Millisecond})
		silent := h.dial()
		half := h.dial()
		half.write(magicBytes[:3])
		silent.wantClosed()
		half.wantClosed()
		h.wantConns(0)
		if got := h.rejectedFor(rejectHandshakeTimeout); got != 2 {
			t.Errorf("%d handshake timeouts counted, want 2", got)
		}
	})
	t.Run("the deadline ends with the handshake", func(t *testing.T) {
		h := start(t, Options{HandshakeTimeout: 500 * time.Millisecond})
		w := h.join()
		h.dial().wantClosed() // later than w's deadline would have been
		w.wantOpen()
	})
	t.Run("a thousand delay nobody", func(t *testing.T) {
		h := start(t, Options{})
		for range 1000 {
			h.dial()
		}
		h.wantConns(1000)
		begin := time.Now()
		h.join().wantOpen()
		took := time.Since(begin)
		t.Logf("handshake and PING beside 1,000 silent connections: %v", took)
		if took > 2*time.Second {
			t.Errorf("handshake and PING took %v", took)
		}
	})
}

func TestRow005_Ping(t *testing.T) {
	w := start(t, Options{}).join()
	w.write([]byte{3, 0, 0, 0, '[', '1', ']'})
	w.wantBytes([]byte{1, 0, 0, 0, '0'})
}

func TestRow006_SuccessIsOneByte(t *testing.T) {
	w := start(t, Options{}).join()
	w.send(`[5, {"key": "server:rasp", "addr": [null, 9090]}]`)
	w.wantBytes([]byte{1, 0, 0, 0, 0x30})
	w.send(`[3, "rasp", [9090, "rasp:0.5"], null]`)
	w.wantBytes([]byte{1, 0, 0, 0, 0x30})
	w.wantOpen()
}

func TestRow007_ByteByByte(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	for _, b := range tvm.AppendFrame(nil, []byte(`[3, "rasp", [9090, "rasp:0.5"], null]`)) {
		w.write([]byte{b})
		time.Sleep(5 * time.Millisecond) // the row's own pace
	}
	w.want("0")
	w.wantOpen()
	h.wantQueue("rasp", 1, 0)
}

func TestRow008_PipelinedFrames(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	var burst []byte
	for range 100 {
		burst = tvm.AppendFrame(burst, []byte("[1]"))
	}
	before := h.segmentsOut()
	w.write(burst)
	for range 100 {
		w.want("0")
	}
	if n := h.segmentsOut() - before; n > 10 {
		t.Errorf("100 replies went out in %d segments, want a few", n)
	}
	w.wantOpen()
}

func TestRow009_LargestFrame(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	head, tail := `[5, {"key": "server:k", "addr": [null, 1], "pad": "`, `"}]`
	payload := head + repeat("x", tvm.MaxFrame-len(head)-len(tail)) + tail
	w.ask(payload, "0")
	s := h.server()
	if host, port := s.Addr(); s.Key() != "server:k" || host != "127.0.0.1" || port != "1" {
		t.Errorf("registered as %s at %s:%s", s.Key(), host, port)
	}
	if pad, ok := s.Info["pad"]; ok { // any client may ask for all of it
		t.Errorf("pad of %d bytes is kept", len(pad))
	}
	eventually(t, "memory of long frames", h.frameMemory.Load, 0)
}

func TestRow010_FrameTooLong(t *testing.T) {
	for _, n := range []uint32{tvm.MaxFrame + 1, 0x7FFFFFFF} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { wantHeaderRefused(t, n) })
	}
	t.Run("a header costs what has come of its frame", func(t *testing.T) {
		const peers, most = 200, 16 << 10
		h := start(t, Options{})
		before := heapInUse()
		for i := range peers {
			begun := append(tvm.AppendFrame(nil, []byte("[1]")), 0, 0, 0x10, 0) // 1 MiB is announced
			if i%2 == 0 {
				begun = append(begun, repeat(" ", idleBuffer)...)
			}
			w := h.join()
			w.write(begun)
			w.want("0")
		}
		eventually(t, "memory of the frames begun", h.frameMemory.Load, peers/2*firstStep)
		each := (heapInUse() - before) / peers
		t.Logf("%d bytes for each announced MiB, the test's own end included", each)
		if each > most {
			t.Errorf("an announced MiB costs %d bytes, want at most %d", each, most)
		}
	})
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func wantHeaderRefused(t *testing.T, n uint32) {
	t.Helper()
	h := start(t, Options{})
	good := h.join()
	w := h.join()
	w.write(binary.LittleEndian.AppendUint32(nil, n))
	w.wantClosed()
	good.wantOpen()
	if h.frameMemory.Load() != 0 {
		t.Error("memory was set aside for the frame")
	}
	eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectFrameLength) }, 1)
}

func TestRow011_FrameLengthZero(t *testing.T) { wantHeaderRefused(t, 0) }

func TestRow012_FrameLengthNegative(t *testing.T) {
	for _, n := range []int32{-1, -2147483648} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { wantHeaderRefused(t, uint32(n)) })
	}
}

func TestRow013_TruncatedFrame(t *testing.T) {
	begun := append([]byte{100, 0, 0, 0}, "[3, \"rasp\","...)
	t.Run("then FIN", func(t *testing.T) {
		h := start(t, Options{})
		w := h.join()
		w.write(begun)
		w.close()
		h.wantConns(0)
	})
	t.Run("then silence: closed at the frame's deadline", func(t *testing.T) {
		h := start(t, Options{FrameTimeout: 50 * time.Millisecond})
		w, idle := h.join(), h.join()
		w.write(begun)
		w.wantClosed()
		idle.wantOpen() // between frames a peer may be silent for ever
		eventually(t, "frame timeouts", func() uint64 { return h.rejectedFor(rejectFrameTimeout) }, 1)
	})
	t.Run("a frame in two pieces is in time", func(t *testing.T) {
		h := start(t, Options{FrameTimeout: time.Second})
		w, late := h.join(), h.join()
		w.write([]byte{3, 0, 0, 0})
		late.write(begun)
		w.write([]byte("[1]"))
		w.want("0")
		late.wantClosed() // by now w's deadline would be over too
		w.wantOpen()
	})
}

// A peer that keeps frames coming may always be in the middle of one.
func TestEachFrameHasADeadlineOfItsOwn(t *testing.T) {
	h := start(t, Options{FrameTimeout: time.Second})
	w, late := h.join(), h.join()
	late.write([]byte{3, 0, 0, 0, '['})
	ping := tvm.AppendFrame(nil, []byte("[1]"))
	step := append(append([]byte{}, ping[5:]...), ping[:5]...) // the end of one frame and the start of the next
	w.write(ping[:5])
	for begin := time.Now(); time.Since(begin) < 1300*time.Millisecond; {
		w.write(step)
		w.want("0")
		time.Sleep(20 * time.Millisecond)
	}
	late.wantClosed()
	w.write(ping[5:])
	w.want("0")
}

func TestRow014_ReplyLongerThanAFrameMayBe(t *testing.T) {
	const servers = 50
	h := start(t, Options{})
	long := repeat("x", 50_000)
	for i := range servers {
		h.join().ask(fmt.Sprintf(`[5, {"key": "server:k%d", "addr": [null, 1], "note": "%s"}]`, i, long), "0")
	}
	asks := h.join()
	asks.send("[6]")
	text := asks.frame()
	if len(text) < 2*tvm.MaxFrame {
		t.Fatalf("reply has %d bytes, want more than two frames' worth", len(text))
	}
	s, err := tvm.ParseSummaryReply([]byte(text))
	if err != nil || len(s.Servers) != servers {
		t.Errorf("%d servers (%v), want %d", len(s.Servers), err, servers)
	}
	asks.wantOpen()
}

func TestRow015_PeerThatNeverReads(t *testing.T) {
	h := start(t, Options{WriteTimeout: 200 * time.Millisecond})
	h.join().ask(`[5, {"key": "server:k", "addr": [null, 1], "note": "`+repeat("x", 60_000)+`"}]`, "0")
	good, deaf := h.join(), h.join()
	_ = deaf.nc.SetWriteDeadline(time.Now().Add(patience))
	ask := []byte(repeat(string(tvm.AppendFrame(nil, []byte("[6]"))), 100))
	for {
		if _, err := deaf.nc.Write(ask); err != nil {
			break // closed, or our own deadline, which the count below tells
		}
	}
	eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectSlowReader) }, 1)
	good.wantOpen()
	h.wantConns(2)
}

// stockFrame sends as stock clients do: the length and the body in two sends,
// with Nagle's algorithm on.
func stockFrame(t testing.TB, nc net.Conn, payload string) {
	t.Helper()
	frame := tvm.AppendFrame(nil, []byte(payload))
	for _, part := range [][]byte{frame[:4], frame[4:]} {
		if _, err := nc.Write(part); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStockClientIsAnsweredAtOnce(t *testing.T) {
	h := start(t, Options{})
	w := h.join()
	if err := w.nc.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	var times []time.Duration
	for range 200 {
		begin := time.Now()
		stockFrame(t, w.nc, "[1]")
		w.want("0")
		times = append(times, time.Since(begin))
	}
	p50 := percentile(times, 50)
	t.Logf("PING by a client that sends length and body apart: p50 %v, p99 %v", p50, percentile(times, 99))
	if p50 > 20*time.Millisecond { // each of the two costs 40 ms, whatever else the machine does
		t.Errorf("p50 %v: Nagle and delayed ACK are at work", p50)
	}
}

func TestManyServersAtOnce(t *testing.T) {
	const servers = 500
	h := start(t, Options{})
	begin := time.Now()
	errs := make(chan error, servers)
	for i := range servers {
		go func() { errs <- registerStock(h.addr, i) }()
	}
	for range servers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(begin)
	t.Logf("%d servers registered in %v", servers, took)
	if took > 5*time.Second {
		t.Errorf("%d servers took %v to register", servers, took)
	}
}

func registerStock(addr string, i int) error {
	nc, err := registerAndStay(addr, i)
	if err != nil {
		return err
	}
	return nc.Close()
}

// registerAndStay registers a server that has a key of its own and one offer.
func registerAndStay(addr string, i int) (net.Conn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	script := append([]byte{}, magicBytes...)
	script = tvm.AppendFrame(script, fmt.Appendf(nil, `[5, {"key": "server:k%d", "addr": [null, 9090]}]`, i))
	script = tvm.AppendFrame(script, fmt.Appendf(nil, `[3, "k%d", [9090, "k%d:0.5951228182607278"], null]`, i, i))
	if _, err := nc.Write(script); err != nil {
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	replies := make([]byte, len(magicBytes)+2*len("\x01\x00\x00\x000"))
	if _, err := io.ReadFull(nc, replies); err != nil {
		return nil, err
	}
	return nc, nil
}
