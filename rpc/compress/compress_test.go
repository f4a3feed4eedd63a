package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var both = []ID{S2, Zstd}

// text is like a log of a tuner: it becomes about a third.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"conv2d", "dense", "relu", "tile_x", "tile_y", "unroll", "vectorize", "cuda", "llvm", "=", ",", " ", "\n"}
	var b []byte
	for len(b) < n {
		b = append(b, words[r.IntN(len(words))]...)
		b = append(b, byte('0'+r.IntN(10)))
	}
	return b[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func wantError(t *testing.T, err, is error, words string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), words) {
		t.Errorf("error is %v, want %v that says %q", err, is, words)
	}
}

func TestS2_25_BodiesComeBack(t *testing.T) {
	c := New(Options{})
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom(both).Draw(t, "compressor")
		part := rapid.SliceOfN(rapid.Byte(), 1, 600).Draw(t, "part")
		plain := bytes.Repeat(part, rapid.IntRange(2, 400).Draw(t, "times"))
		body, shorter := c.Append([]byte("before"), id, plain)
		if !shorter {
			if string(body) != "before" {
				t.Fatalf("%d bytes are left of what was not compressed", len(body))
			}
			return
		}
		if len(body)-len("before") >= len(plain) {
			t.Fatalf("%d bytes became %d", len(plain), len(body))
		}
		back, err := c.Decode([]byte("dst"), id, body[len("before"):], uint64(len(plain)))
		if err != nil || string(back[:3]) != "dst" || !bytes.Equal(back[3:], plain) {
			t.Fatalf("%d bytes became %d: %v", len(plain), len(back), err)
		}
	})
}

func TestS2_25_WhatIsNotCompressed(t *testing.T) {
	c := New(Options{})
	for _, id := range both {
		for name, plain := range map[string][]byte{"nothing": nil, "1023 bytes": make([]byte, MinLen-1), "noise": noise(64 << 10)} {
			if out, shorter := c.Append([]byte("x"), id, plain); shorter || string(out) != "x" {
				t.Errorf("%v: %s became %d bytes", id, name, len(out))
			}
		}
		if out, shorter := c.Append(nil, id, make([]byte, MinLen)); !shorter || len(out) > 100 {
			t.Errorf("%v: %d zeros became %d bytes", id, MinLen, len(out))
		}
	}
	if _, shorter := c.Append(nil, 2, make([]byte, MinLen)); shorter {
		t.Error("an unknown compressor made something shorter")
	}
}

func TestS2_25_BothAgreeOnOne(t *testing.T) {
	for _, x := range []struct {
		both uint32
		slow bool
		want ID
		ok   bool
	}{
		{0, false, 0, false}, {4, true, 0, false}, {1, false, S2, true}, {1, true, S2, true},
		{2, false, Zstd, true}, {3, false, S2, true}, {3, true, Zstd, true}, {7, true, Zstd, true},
	} {
		if id, ok := Pick(x.both, x.slow); ok != x.ok || ok && id != x.want {
			t.Errorf("of %b, slow %v: %v, %v", x.both, x.slow, id, ok)
		}
	}
	if New(Options{}).Mask() != 3 || S2.String()+Zstd.String()+ID(2).String() != "s2zstdcompressor-2" {
		t.Error("the compressors are not s2 and zstd")
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zstdFrame makes a frame by hand: its header with a plain length, and blocks.
func zstdFrame(plain uint64, blocks ...byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0} // a single segment, 8 bytes of length
	return append(binary.LittleEndian.AppendUint64(b, plain), blocks...)
}

// repeat is a block that is one byte, n times.
func repeat(n int, last bool) []byte {
	head := n<<3 | 1<<1
	if last {
		head |= 1
	}
	return []byte{byte(head), byte(head >> 8), byte(head >> 16), 'a'}
}

// A bomb of 1 KiB that becomes 10 GiB gets no memory, whether it says so or not.
func TestS2_25_BombsAreRefusedWithoutMemory(t *testing.T) {
	const plain, limit = 10 << 30, 64 << 20
	c := New(Options{MaxPlain: limit})
	if _, err := c.Decode(nil, Zstd, zstdFrame(1, repeat(1, true)...), 1); err != nil {
		t.Fatal(err) // and now its decoder is made
	}
	bomb := func(says uint64) []byte {
		return zstdFrame(says, append(bytes.Repeat(repeat(maxBlock, false), 252), repeat(maxBlock, true)...)...)
	}
	s2says := func(n uint64) []byte { return append(binary.AppendUvarint(nil, n), make([]byte, 1<<10)...) }
	for _, x := range []struct {
		name     string
		id       ID
		body     []byte
		declared uint64
		is       error
	}{
		{"zstd, honest", Zstd, bomb(plain), plain, ErrTooLong},
		{"zstd, the message lies", Zstd, bomb(plain), 2 << 10, ErrLength},
		{"zstd, both lie: it becomes 32 MiB", Zstd, bomb(2 << 10), 2 << 10, ErrCorrupt},
		{"zstd, both promise more than there is", Zstd, zstdFrame(limit, repeat(maxBlock, true)...), limit, ErrLength},
		{"zstd, a window of 2 TiB", Zstd, append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xf8, 0, 8, 0, 0, 0, 0, 0, 0}, repeat(2048, true)...), 2048, nil},
		{"s2, honest", S2, s2says(plain), plain, ErrTooLong},
		{"s2, the message lies", S2, s2says(1 << 30), 2 << 10, ErrLength},
		{"s2, one byte more", S2, s2says(2<<10 + 1), 2 << 10, ErrLength},
		{"s2, 2^64 - 1", S2, s2says(1<<64 - 1), 1<<64 - 1, ErrTooLong},
		{"s2, 2^64 - 1 as 2 KiB", S2, s2says(1<<64 - 1), 2 << 10, ErrCorrupt},
	} {
		t.Run(x.name, func(t *testing.T) {
			var err error
			if got := allocated(func() { _, err = c.Decode(nil, x.id, x.body, x.declared) }); got > 512<<10 {
				t.Errorf("%d bytes were allocated", got)
			}
			wantError(t, err, x.is, x.id.String()+": ")
		})
	}
}

func TestS2_25_DamagedBodiesAreAnError(t *testing.T) {
	c := New(Options{})
	plain := text(200 << 10)
	for _, id := range both {
		body, shorter := c.Append(nil, id, plain)
		if !shorter {
			t.Fatal("text did not become shorter")
		}
		decode := func(b []byte, n int) error {
			out, err := c.Decode([]byte("x"), id, b, uint64(n))
			if err != nil && string(out) != "x" {
				t.Errorf("%v: %d bytes besides the error", id, len(out))
			}
			return err
		}
		for cut := range 40 {
			if err := decode(body[:len(body)*cut/40], len(plain)); err == nil {
				t.Errorf("%v: %d/40 of the body is taken", id, cut)
			}
		}
		for name, tail := range map[string][]byte{
			"a byte": {0}, "itself": body, "a skippable frame": {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, "an empty frame": zstdFrame(0, 1, 0, 0),
		} {
			if err := decode(append(bytes.Clone(body), tail...), len(plain)); err == nil {
				t.Errorf("%v: %s behind the body is taken", id, name)
			}
		}
		for _, n := range []int{0, 1, len(plain) - 1, len(plain) + 1} {
			wantError(t, decode(body, n), ErrLength, "not")
		}
	}
	for _, x := range []struct {
		name  string
		body  []byte
		plain uint64
		is    error
		want  string
	}{
		{"a skippable frame", []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}, 4, ErrCorrupt, "skippable"},
		{"a frame that says no length", append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0}, repeat(9, true)...), 9, ErrLength, "not 9"},
		{"a block that is too long", zstdFrame(9, repeat(maxBlock+1, true)...), 9, ErrCorrupt, "block of"},
		{"a block of a reserved type", zstdFrame(9, 0xf, 0, 0, 1), 9, ErrCorrupt, ""},
		{"no last block", zstdFrame(9, repeat(9, false)...), 9, ErrCorrupt, "ends within a block"},
		{"a raw block that is cut", zstdFrame(9, 9<<3|1, 0, 0, 'a'), 9, ErrCorrupt, "block of 9 bytes of 1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.Decode(nil, Zstd, x.body, x.plain)
			wantError(t, err, x.is, x.want)
		})
	}
	_, err := c.Decode(nil, 2, nil, 0)
	wantError(t, err, nil, "compressor-2 is not known")
}

// A flipped bit is found by zstd, which has a checksum. s2 has none: there the
// frame's is for that.
func TestS2_25_ZstdFindsFlippedBits(t *testing.T) {
	c := New(Options{})
	plain := text(8 << 10)
	body, _ := c.Append(nil, Zstd, plain)
	for i := 0; i < len(body)*8; i += 37 {
		b := bytes.Clone(body)
		b[i/8] ^= 1 << (i % 8)
		if out, err := c.Decode(nil, Zstd, b, uint64(len(plain))); err == nil && !bytes.Equal(out, plain) {
			t.Fatalf("bit %d of byte %d is not missed", i%8, i/8)
		}
	}
}

func TestS2_25_ManyAtOnce(t *testing.T) {
	c := New(Options{})
	plain := text(100 << 10)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for range 5 {
				id := both[i%2]
				body, _ := c.Append(nil, id, plain[i:])
				if back, err := c.Decode(nil, id, body, uint64(len(plain)-i)); err != nil || !bytes.Equal(back, plain[i:]) {
					t.Errorf("%v: %v", id, err)
				}
			}
		})
	}
	wait.Wait()
}

func FuzzDecode(f *testing.F) {
	c := New(Options{MaxPlain: 1 << 20})
	for _, id := range both {
		for _, plain := range [][]byte{text(2 << 10), make([]byte, 300<<10)} {
			body, _ := c.Append(nil, id, plain)
			f.Add(body, uint32(len(plain)), uint8(id))
		}
	}
	f.Add(zstdFrame(9, repeat(9, true)...), uint32(9), uint8(Zstd))
	f.Fuzz(func(t *testing.T, body []byte, n uint32, id uint8) {
		out, err := c.Decode(nil, ID(id), body, uint64(n))
		if err == nil && len(out) != int(n) {
			t.Fatalf("%d bytes, %d were declared", len(out), n)
		}
		if err != nil || ID(id) != Zstd {
			return
		}
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if again, err := d.DecodeAll(body, nil); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("the library alone decodes %d bytes, %v", len(again), err)
		}
	})
}
