//go:build linux

package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// raw is a client that sends what the test says, byte for byte.
type raw struct {
	net.Conn
	t       testing.TB
	flavour tvm.Flavour
}

func dialRaw(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	return &raw{Conn: c, t: t, flavour: tvm.FlavourC}
}

// hello is a client's half of the handshake with any text as its key.
func hello(text string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(tvm.Magic))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

// send writes b. A server that has hung up already is noticed when reading.
func (r *raw) send(b []byte) {
	_, _ = r.Write(b)
}

// take reads exactly n bytes.
func (r *raw) take(n int) []byte {
	r.t.Helper()
	b := make([]byte, n)
	if n, err := io.ReadFull(r, b); err != nil {
		r.t.Fatalf("read %d bytes, got % x: %v", len(b), b[:n], err)
	}
	return b
}

// rest reads until the server closes. A reset is a close as well.
func (r *raw) rest() []byte {
	r.t.Helper()
	b, err := io.ReadAll(r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		r.t.Fatalf("server did not close; it sent % x", b)
	}
	return b
}

// shake sends a key and returns the server's answer.
func (r *raw) shake(text string) tvm.ServerAnswer {
	r.t.Helper()
	r.send(hello(text))
	a, err := r.answer()
	if err != nil {
		r.t.Fatalf("handshake %q: %v", text, err)
	}
	return a
}

func (r *raw) answer() (tvm.ServerAnswer, error) {
	var buf []byte
	for {
		a, n, err := tvm.ParseServerAnswer(buf)
		if !errors.Is(err, tvm.ErrShortAnswer) {
			return a, err
		}
		have := len(buf)
		buf = append(buf, make([]byte, n-have)...)
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			return a, err
		}
	}
}

// packet sends a packet and returns the reply.
func (r *raw) packet(p tvm.Packet) (tvm.Packet, error) {
	b, err := tvm.AppendPacket(nil, r.flavour, p)
	if err != nil {
		return nil, err
	}
	r.send(b)
	return r.reply()
}

func (r *raw) reply() (tvm.Packet, error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.LittleEndian.Uint64(header[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return tvm.DecodePacket(r.flavour, body)
}

// values sends a request whose answer must be values.
func (r *raw) values(p tvm.Packet) ([]tvm.Value, error) {
	reply, err := r.packet(p)
	if err != nil {
		return nil, err
	}
	switch reply := reply.(type) {
	case tvm.Return:
		return reply.Values, nil
	case tvm.Exception:
		return nil, errors.New(reply.Text)
	default:
		return nil, fmt.Errorf("reply is %T", reply)
	}
}

// start opens the session.
func (r *raw) start() error {
	_, err := r.values(tvm.InitServer{Version: tvm.ProtocolVersion})
	return err
}

// call calls a function by name, and returns its result.
func (r *raw) call(name string, args ...tvm.Value) (tvm.Value, error) {
	found, err := r.values(tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str(name)}})
	if err != nil {
		return tvm.Value{}, err
	}
	got, err := r.values(tvm.CallFunc{Handle: found[0].Handle, Args: args})
	if err != nil {
		return tvm.Value{}, err
	}
	if len(got) < 2 {
		return tvm.Value{}, fmt.Errorf("%s returned %v", name, got)
	}
	return got[1], nil
}

// bye ends the session in order.
func (r *raw) bye() {
	b, err := tvm.AppendPacket(nil, r.flavour, tvm.Shutdown{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(b)
	_ = r.Close()
}

// session opens a session with a key's text, and checks that it works.
func (r *raw) session(text string) {
	r.t.Helper()
	if a := r.shake(text); a.Code != tvm.HandshakeSuccess {
		r.t.Fatalf("handshake %q: answer %#x", text, a.Code)
	}
	if err := r.start(); err != nil {
		r.t.Fatalf("kInitServer: %v", err)
	}
	v, err := r.call("test.addone", tvm.Int(1))
	if err != nil || v.Int != 2 {
		r.t.Fatalf("test.addone(1) = %v, %v", v, err)
	}
}
