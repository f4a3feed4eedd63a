package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// FuzzReader gives a connection any bytes, in pieces of any length: it ends with
// an error of ours, and holds no memory then.
func FuzzReader(f *testing.F) {
	call := frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}
	f.Add(frame.Append(nil, &call, nil, []byte("hello")), 7)
	long := call
	long.Flags = frame.FlagMore
	wire := frame.Append(nil, &long, (&frame.Ext{MessageLen: 9000}).Append(nil), make([]byte, 5000))
	f.Add(frame.Append(wire, &frame.Header{Type: frame.TypeChunk, Priority: 2, Seq: 1}, nil, make([]byte, 4000)), 100)
	f.Add(frame.Append(wire, &frame.Header{Type: frame.TypeCancel, Seq: 1}, nil, nil), 1)
	f.Add(frame.Append(nil, &frame.Header{Type: frame.TypePing, Flags: frame.FlagCRC, Seq: 4}, nil, nil), 3)
	opts, _ := Options{Linger: time.Millisecond}.withDefaults()
	f.Fuzz(func(t *testing.T, wire []byte, step int) {
		a, b := net.Pipe()
		closed := make(chan error, 1)
		c := newConn(dribble{b, max(1, step&0xfff)}, opts, &echo{closed: closed}, owner{clock: new(atomic.Int64)})
		c.open(opts.limits())
		go func() { _, _ = io.Copy(io.Discard, a) }()
		_ = a.SetWriteDeadline(time.Now().Add(patience))
		if _, err := a.Write(wire); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("does not read")
		}
		_ = a.Close()
		var err error
		select {
		case err = <-closed:
		case <-time.After(patience):
			t.Fatal("does not end")
		}
		<-c.Done()
		var bad *frame.Error
		if !errors.As(err, &bad) && !errors.Is(err, ErrCut) && !errors.Is(err, ErrPeerClosed) && !errors.Is(err, ErrEPIPE) && !errors.Is(err, ErrClosed) {
			t.Fatalf("ended with %v", err)
		}
		if n := len(c.rd.long); n == 0 && c.rx.room != opts.MaxAssembly {
			t.Fatalf("room has leaked: %d bytes are left", c.rx.room)
		}
	})
}
