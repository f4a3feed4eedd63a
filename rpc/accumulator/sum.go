package accumulator

import (
	"encoding/binary"
	"math/big"
	"math/bits"
)

// wide is an integer of 128 bits, two's complement.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(v int64) wide { return wide{v >> 63, uint64(v)} }

func (w wide) plus(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	return wide{w.hi + v.hi + int64(carry), lo}
}

func (w wide) big() *big.Int {
	n := big.NewInt(w.hi)
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(w.lo))
}

func (w wide) float() float64 {
	f, _ := new(big.Float).SetInt(w.big()).Float64()
	return f
}

func (w wide) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, w.lo), uint64(w.hi))
}

func (r *reader) wide() wide {
	lo := r.uint64()
	return wide{int64(r.uint64()), lo}
}

// Sum is a sum of integers. It has 128 bits, so that it is exact for any 2^64
// values: a float64 is not above 2^53, an int64 overflows.
type Sum struct{ total wide }

// Add adds a value.
func (s *Sum) Add(v int64) { s.total = s.total.plus(wideOf(v)) }

// Int64 returns the sum if it fits.
func (s *Sum) Int64() (int64, bool) {
	v := int64(s.total.lo)
	return v, s.total == wideOf(v)
}

// Big returns the sum.
func (s *Sum) Big() *big.Int { return s.total.big() }

// Float64 returns the float64 that is nearest to the sum.
func (s *Sum) Float64() float64 { return s.total.float() }

// String is the sum in decimal.
func (s *Sum) String() string { return s.Big().String() }

// Merge implements [Aggregator].
func (s *Sum) Merge(other Aggregator) error {
	o, err := same[*Sum](other)
	if err == nil {
		s.total = s.total.plus(o.total)
	}
	return err
}

// wideLen is how long a sum is that is no int64.
const wideLen = 16

// AppendBinary implements [Aggregator].
func (s *Sum) AppendBinary(dst []byte) ([]byte, error) {
	if v, ok := s.Int64(); ok {
		return binary.AppendVarint(dst, v), nil
	}
	return s.total.append(dst), nil
}

// UnmarshalBinary implements [Aggregator].
func (s *Sum) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	if len(b) < wideLen {
		s.total = wideOf(r.varint())
		return r.done()
	}
	s.total = r.wide()
	if _, small := s.Int64(); small {
		return malformed("a sum is longer than it needs to be")
	}
	return r.done()
}
