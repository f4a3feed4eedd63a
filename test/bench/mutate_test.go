//go:build linux

package main

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"rpcpool.dev/tvm"
)

func TestTheSameSeedMakesTheSameInput(t *testing.T) {
	seed := requestFrame("k")
	a, b, other := newMutator(7, 1), newMutator(7, 1), newMutator(8, 1)
	same, different := true, false
	for range 200 {
		x, y, z := a.mutate(seed), b.mutate(seed), other.mutate(seed)
		same = same && bytes.Equal(x, y)
		different = different || !bytes.Equal(x, z)
	}
	if !same || !different {
		t.Errorf("same seed gives the same input: %v, another gives other input: %v", same, different)
	}
}

func TestMutateLeavesItsInputAlone(t *testing.T) {
	seed := requestFrame("k")
	want := slices.Clone(seed)
	m := newMutator(1, 1)
	for range 1000 {
		m.mutate(seed)
	}
	if !bytes.Equal(seed, want) {
		t.Errorf("input became %q", seed)
	}
}

// Mutated messages must reach every depth of the parser: refused by their
// length, cut short, refused by their content, and now and then still accepted.
func TestMutationsReachEveryDepthOfTheParser(t *testing.T) {
	reached := map[string]int{}
	m := newMutator(3, 1)
	for range 5000 {
		reached[depthOf(m.mutate(m.one(trackerSeeds("k"))))]++
	}
	for _, depth := range []string{"empty", "cut in the header", "bad length", "cut in the payload", "bad message", "accepted"} {
		if reached[depth] < 20 {
			t.Errorf("%d of 5000 mutations were %s, want more", reached[depth], depth)
		}
	}
	t.Log(reached)
}

func depthOf(frame []byte) string {
	if len(frame) == 0 {
		return "empty"
	}
	if len(frame) < tvm.FrameHeader {
		return "cut in the header"
	}
	n, err := tvm.FrameLen([4]byte(frame))
	switch {
	case errors.Is(err, tvm.ErrFrameLength):
		return "bad length"
	case len(frame) < tvm.FrameHeader+n:
		return "cut in the payload"
	}
	if _, err := tvm.ParseMessage(frame[tvm.FrameHeader : tvm.FrameHeader+n]); err != nil {
		return "bad message"
	}
	return "accepted"
}

func TestMutationsOfTinyInputs(t *testing.T) {
	m := newMutator(5, 1)
	for _, tiny := range [][]byte{nil, {}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}} {
		for range 2000 {
			m.mutate(tiny) // must not panic
		}
	}
}

func TestNoiseIsBounded(t *testing.T) {
	m := newMutator(6, 1)
	for range 2000 {
		if n := len(m.noise()); n < 1 || n > maxNoise {
			t.Fatalf("noise of %d bytes", n)
		}
	}
}

func TestPiecesAreTheWhole(t *testing.T) {
	m := newMutator(9, 1)
	several := false
	for range 500 {
		b := m.noise()
		parts := m.pieces(b)
		several = several || len(parts) > 1
		if !bytes.Equal(slices.Concat(parts...), b) || len(parts) > 4 {
			t.Fatalf("%d pieces are not the whole", len(parts))
		}
	}
	if !several {
		t.Error("nothing was ever cut")
	}
}

func TestSeedsAreValid(t *testing.T) {
	for _, frame := range trackerSeeds("k") {
		if got := depthOf(frame); got != "accepted" {
			t.Errorf("seed %q is %s", frame, got)
		}
	}
	for _, hello := range doorSeeds("k") {
		n, err := tvm.HandshakeLen([8]byte(hello))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tvm.ParseClientKey(hello[tvm.HandshakeHeader : tvm.HandshakeHeader+n]); err != nil {
			t.Errorf("seed %q: %v", hello, err)
		}
	}
	for _, packet := range sessionSeeds() {
		if _, err := tvm.DecodePacket(tvm.FlavourC, packet[tvm.PacketHeader:]); err != nil {
			t.Errorf("seed % x: %v", packet, err)
		}
	}
}
