package ring

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// made returns both ends of one way, and its memory.
func made() (*producer, *consumer) {
	r := ways(make([]byte, length))
	return &producer{ring: r[0], limit: Size}, &consumer{ring: r[0]}
}

// TestARingIsAQueueOfBytes plays random writes and reads, some of them larger than the ring, against a buffer.
func TestARingIsAQueueOfBytes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p, c := made()
	var want bytes.Buffer
	next := byte(0)
	size := func() int { return random.IntN(1 << random.IntN(19)) }
	for range 20_000 {
		if random.IntN(2) == 0 {
			b := make([]byte, size())
			for i := range b {
				b[i] = next + byte(i)
			}
			n, err := p.put(b)
			if room := Size - want.Len(); err != nil || n != min(len(b), room) {
				t.Fatalf("%d of %d bytes are written, %v; there is room for %d", n, len(b), err, room)
			}
			next += byte(n)
			want.Write(b[:n])
			continue
		}
		got := make([]byte, size())
		n, err := c.take(got)
		if expected := want.Next(len(got)); err != nil || !bytes.Equal(got[:n], expected) {
			t.Fatalf("%d bytes are read, %v; %d were to be", n, err, len(expected))
		}
	}
}

// TestWhatIsOnItsWayIsBounded: as a socket's send buffer is.
func TestWhatIsOnItsWayIsBounded(t *testing.T) {
	p, c := made()
	if n, _ := p.put(make([]byte, 2*Size)); n != Size {
		t.Errorf("%d bytes fit, not %d", n, Size)
	}
	p.limit = 1000
	if n, _ := p.put([]byte("x")); n != 0 {
		t.Error("there is room where there is more than may be")
	}
	_, _ = c.take(make([]byte, Size-1))
	if n, _ := p.put(make([]byte, 2000)); n != 999 {
		t.Errorf("%d bytes fit beside one, of 1000", n)
	}
}

func TestAPeersPositionThatCannotBeIsRefused(t *testing.T) {
	for name, tail := range map[string]uint64{"more than there can be": 100 + Size + 1, "less than was read": 99, "as if it had gone below 0": ^uint64(0)} {
		t.Run("written, "+name, func(t *testing.T) {
			p, c := made()
			_, _ = p.put(make([]byte, 100))
			_, _ = c.take(make([]byte, 100))
			c.tail.Store(tail)
			if n, err := c.take(make([]byte, 10)); n != 0 || !errors.Is(err, ErrPeer) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	for name, head := range map[string]uint64{"more than was written": Size + 11, "less than before": 9, "as if it had gone below 0": ^uint64(0)} {
		t.Run("read, "+name, func(t *testing.T) {
			p, c := made()
			_, _ = p.put(make([]byte, Size))
			_, _ = c.take(make([]byte, 10))
			_, _ = p.put(make([]byte, 10))
			c.head.Store(head)
			if n, err := p.put(make([]byte, 10)); n != 0 || !errors.Is(err, ErrPeer) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// FuzzAPeerThatWritesAnything: whatever is in the memory, nothing is read or written but what was asked for.
func FuzzAPeerThatWritesAnything(f *testing.F) {
	f.Add(uint64(0), uint64(0), 10, 10)
	f.Add(uint64(Size), uint64(1), Size, Size+1)
	f.Add(^uint64(0), ^uint64(0), 1, 1)
	f.Fuzz(func(t *testing.T, tail, head uint64, read, write int) {
		p, c := made()
		_, _ = p.put(make([]byte, 1000))
		_, _ = c.take(make([]byte, 500))
		p.head.Store(head)
		c.tail.Store(tail)
		read, write = min(max(read, 0), 2*Size), min(max(write, 0), 2*Size)
		n, err := c.take(make([]byte, read))
		if n < 0 || n > read || n > Size || err != nil && n > 0 {
			t.Errorf("%d of %d bytes are read, %v", n, read, err)
		}
		n, err = p.put(make([]byte, write))
		if n < 0 || n > write || n > Size || p.at-500 > 2*Size {
			t.Errorf("%d of %d bytes are written, %v", n, write, err)
		}
	})
}
