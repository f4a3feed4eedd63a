package remote

import (
	"context"
	"net"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/frame"
)

// FuzzServer has a server read whatever a client may say behind its handshake. It must
// end, and leave nothing.
func FuzzServer(f *testing.F) {
	ask := func(b []byte, seq uint64, m message) []byte {
		return frame.Append(b, &frame.Header{Type: frame.TypeBulkAsk, Seq: seq}, nil, m.append(nil))
	}
	joined := ask(nil, 1, message{Op: opJoin, Secret: [secretLen]byte{1}, Time: 1000})
	data := frame.Append(ask(joined, 2, message{Op: opPut, Number: 1, Length: 3, Rights: blob.Read}), &frame.Header{Type: frame.TypeBulkData, Seq: 2}, nil, []byte("abc"))
	f.Add(frame.Append(data, &frame.Header{Type: frame.TypeBulkReady, Seq: 2}, nil, (&ready{Length: 3, Sum: sum(0, []byte("abc"))}).append(nil)))
	f.Add(ask(joined, 2, message{Op: opAllocate, Number: 1, Length: 100, Rights: blob.Read}))
	f.Add(ask(ask(joined, 2, message{Op: opAllocate, Number: 1, Length: 100, Rights: blob.Read}), 3, message{Op: opCopy, Number: 2, Handle: full.Handle, Offset: 3, Length: 200, Rights: blob.Read}))
	f.Add(ask(ask(joined, 2, message{Op: opRenew}), 3, message{Op: opLeave}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := shm.NewHost(shm.Options{Limits: blob.Limits{Memory: 16 << 20, PartyBytes: 4 << 20}})
		s := NewServer(h, ServerOptions{})
		here, there := net.Pipe()
		go func() {
			_ = here.SetDeadline(time.Now().Add(5 * time.Second))
			go func() {
				_, _ = here.Write(b)
				_ = here.Close()
			}()
			_, _ = discard(here)
		}()
		s.Serve(context.Background(), there, frame.Hello{Limits: frame.Limits{MaxFrame: mostChunk}, Features: frame.FeatureBulk | frame.FeatureBulkCopy})
		_ = s.Close()
		if n := h.Snapshot(); n.Blobs != 0 || n.Parties != 0 {
			t.Errorf("left: %+v", n)
		}
		_ = h.Close()
	})
}

func discard(c net.Conn) (n int, err error) {
	buf := make([]byte, 4096)
	for err == nil {
		n, err = c.Read(buf)
	}
	return n, err
}
