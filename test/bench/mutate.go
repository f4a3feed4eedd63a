//go:build linux

package main

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// mutator makes bad input: noise, and valid input that was changed in a few
// places, which gets deeper into a parser than noise does. The same seed makes
// the same input. It is not safe for concurrent use.
type mutator struct{ *rand.Rand }

func newMutator(seed, stream uint64) mutator {
	return mutator{rand.New(rand.NewPCG(seed, stream))} //nolint:gosec // repeatable on purpose
}

// maxNoise bounds the length of random bytes.
const maxNoise = 2048

// noise returns random bytes, mostly few.
func (m mutator) noise() []byte {
	b := make([]byte, 1+m.IntN(1+m.IntN(maxNoise)))
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// mutate returns a copy of b with one to four changes. It may be b itself
// again, and it may be empty.
func (m mutator) mutate(b []byte) []byte {
	b = slices.Clone(b)
	changes := []func([]byte) []byte{m.flip, m.overwrite, m.remove, m.repeat, m.insert, m.truncate, m.length}
	for range 1 + m.IntN(4) {
		if len(b) == 0 {
			return b
		}
		b = changes[m.IntN(len(changes))](b)
	}
	return b
}

// flip flips one bit.
func (m mutator) flip(b []byte) []byte {
	b[m.IntN(len(b))] ^= 1 << m.IntN(8)
	return b
}

// overwrite sets one byte to one that means something to a parser.
func (m mutator) overwrite(b []byte) []byte {
	const special = "\x00\x01\x7f\x80\xff\"\\[]{},:-.0 9eE\n\r/"
	b[m.IntN(len(b))] = special[m.IntN(len(special))]
	return b
}

// piece returns the bounds of a part of b, not empty.
func (m mutator) piece(b []byte) (from, to int) {
	from = m.IntN(len(b))
	return from, from + 1 + m.IntN(len(b)-from)
}

func (m mutator) remove(b []byte) []byte {
	from, to := m.piece(b)
	return slices.Delete(b, from, to)
}

// repeat inserts a part of b once more, somewhere.
func (m mutator) repeat(b []byte) []byte {
	from, to := m.piece(b)
	return slices.Insert(b, m.IntN(len(b)+1), slices.Clone(b[from:to])...)
}

func (m mutator) insert(b []byte) []byte {
	noise := m.noise()
	return slices.Insert(b, m.IntN(len(b)+1), noise[:min(len(noise), 64)]...)
}

func (m mutator) truncate(b []byte) []byte { return b[:m.IntN(len(b))] }

// length overwrites four bytes, often the first, by a number that is bad as a
// length: none, negative, a little more or less than there is, or huge.
func (m mutator) length(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	at := 0
	if m.IntN(2) == 0 {
		at = m.IntN(len(b) - 3)
	}
	bad := []int32{0, -1, 1, int32(len(b)), int32(len(b) - 5), 4096, 4097, 1 << 20, 1<<20 + 1, 1<<31 - 1, -1 << 31}
	binary.LittleEndian.PutUint32(b[at:], uint32(bad[m.IntN(len(bad))]))
	return b
}

// one returns one of several inputs.
func (m mutator) one(of [][]byte) []byte { return of[m.IntN(len(of))] }

// pieces cuts b in up to four, as a network may.
func (m mutator) pieces(b []byte) [][]byte {
	var parts [][]byte
	for len(b) > 1 && len(parts) < 3 && m.IntN(2) == 0 {
		cut := 1 + m.IntN(len(b)-1)
		parts, b = append(parts, b[:cut]), b[cut:]
	}
	return append(parts, b)
}
