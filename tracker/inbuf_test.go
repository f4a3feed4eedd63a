package tracker

import (
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"rpcpool.dev/tvm"
)

// However a stream is cut, the frames in it are the same.
func TestFramesDoNotDependOnHowTheyArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(1, 64), rapid.IntRange(idleBuffer-8, idleBuffer+8), rapid.IntRange(firstStep-8, 5*firstStep))
		var stream []byte
		var want []string
		for i, n := range rapid.SliceOfN(size, 1, 12).Draw(t, "payloads") {
			payload := slices.Repeat([]byte{byte('a' + i)}, n)
			want = append(want, string(payload))
			stream = tvm.AppendFrame(stream, payload)
		}
		var memory atomic.Int64
		b := inbuf{memory: &memory}
		var got []string
		for len(stream) > 0 {
			room, err := b.space()
			if err != nil || len(room) == 0 {
				t.Fatalf("room for %d bytes, %v", len(room), err)
			}
			n := min(len(room), len(stream), rapid.IntRange(1, 3*idleBuffer).Draw(t, "arrive"))
			copy(room, stream[:n])
			b.added(n)
			stream = stream[n:]
			for {
				payload, ok, err := b.next()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				got = append(got, string(payload))
			}
			if used := memory.Load(); used > int64(2*(b.end-b.start)+2*(5*firstStep+tvm.FrameHeader)) {
				t.Fatalf("%d bytes are set aside", used)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		if _, err := b.space(); err != nil || !b.empty() || memory.Load() != 0 {
			t.Fatalf("left behind: empty %v, %d bytes of memory, %v", b.empty(), memory.Load(), err)
		}
	})
}

func TestFrameMemoryIsGivenBack(t *testing.T) {
	var memory atomic.Int64
	b := inbuf{memory: &memory}
	room, _ := b.space()
	copy(room, []byte{0, 0, 0x10, 0})
	b.added(len(room))
	for range 3 { // of a MiB that is announced
		room, err := b.space()
		if err != nil {
			t.Fatal(err)
		}
		b.added(len(room))
	}
	if memory.Load() != 4*firstStep {
		t.Errorf("%d bytes are accounted for, want %d", memory.Load(), 4*firstStep)
	}
	b.drop()
	if memory.Load() != 0 {
		t.Errorf("%d bytes are never given back", memory.Load())
	}
}
