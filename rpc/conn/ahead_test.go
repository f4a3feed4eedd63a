package conn

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"rpcpool.dev/rpc/frame"
)

// collector keeps the bodies of calls by their seq.
type collector struct {
	mu  sync.Mutex
	got map[uint64][]byte
}

func (c *collector) Message(_ Peer, in *In) {
	if in.Type == frame.TypeCall {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got[in.Seq] = bytes.Clone(in.Body)
	}
}

func (*collector) Closed(Peer, error, []uint64) {}

// TestWhatComesBetweenChunksIsNotMistakenForOne mixes the chunks of long messages
// with all that may come between them, and writes it in pieces of any length:
// what was read ahead in vain is put right, and every message arrives as it was.
func TestWhatComesBetweenChunksIsNotMistakenForOne(t *testing.T) {
	h := &collector{}
	s, c := shakeHands(t, h, Options{Window: 64 << 20, MaxWindow: 64 << 20})
	seq := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		wire, want := mixed(seed, seq)
		seq += uint64(len(want))
		h.mu.Lock()
		h.got = map[uint64][]byte{}
		h.mu.Unlock()
		piece := rapid.SampledFrom([]int{100, 5000, 70_000, 1 << 20}).Draw(t, "piece")
		for p := wire; len(p) > 0; p = p[min(piece, len(p)):] {
			if _, err := s.nc.Write(p[:min(piece, len(p))]); err != nil {
				t.Fatal(err, c.Err())
			}
		}
		for {
			f, err := s.next()
			if err != nil {
				t.Fatal(err, c.Err())
			}
			if f.Type == frame.TypePong && f.Seq == 7 {
				break
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for seq, body := range want {
			if !bytes.Equal(h.got[seq], body) {
				t.Fatalf("call %d of %d bytes came as %d bytes, or as others", seq, len(body), len(h.got[seq]))
			}
		}
	})
}

// mixed returns frames of some calls above a seq, behind them a ping with nonce 7,
// and the calls' bodies.
func mixed(seed, after uint64) (wire []byte, want map[uint64][]byte) {
	type long struct {
		seq  uint64
		rest []byte
		step int
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	noise := rand.NewChaCha8(key)
	r := rand.New(noise)
	want = map[uint64][]byte{}
	call := func(size int) (uint64, []byte) {
		body := make([]byte, size)
		_, _ = noise.Read(body)
		seq := after + uint64(len(want)) + 1
		want[seq] = body
		return seq, body
	}
	var longs []*long
	for range 1 + r.IntN(3) {
		seq, body := call(70_000 + r.IntN(300_000))
		m := &long{seq: seq, rest: body, step: []int{64 << 10, 64 << 10, 20_000, 4096}[r.IntN(4)]}
		head := frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: 2, Seq: seq}
		wire = frame.Append(wire, &head, (&frame.Ext{MessageLen: uint64(len(body))}).Append(nil), body[:m.step])
		m.rest = m.rest[m.step:]
		longs = append(longs, m)
	}
	for len(longs) > 0 {
		switch r.IntN(12) {
		case 0:
			wire = frame.Append(wire, &frame.Header{Type: frame.TypePing, Seq: 1}, nil, nil)
		case 1:
			seq, body := call(r.IntN(9000))
			wire = frame.Append(wire, &frame.Header{Type: frame.TypeCall, Priority: 1, Seq: seq}, nil, body)
		case 2:
			wire = frame.Append(wire, &frame.Header{Type: 200, Flags: frame.FlagOptional}, nil, make([]byte, r.IntN(100_000)))
		default:
			i := r.IntN(len(longs))
			m := longs[i]
			n := min(m.step, len(m.rest))
			if r.IntN(8) == 0 {
				n = min(1+r.IntN(n), n)
			}
			head := frame.Header{Type: frame.TypeChunk, Priority: 2, Seq: m.seq, Flags: frame.Flags(r.IntN(2)) * frame.FlagCRC}
			if n < len(m.rest) {
				head.Flags |= frame.FlagMore
			} else {
				longs = append(longs[:i], longs[i+1:]...)
			}
			wire = frame.Append(wire, &head, nil, m.rest[:n])
			m.rest = m.rest[n:]
		}
	}
	return frame.Append(wire, &frame.Header{Type: frame.TypePing, Seq: 7}, nil, nil), want
}
