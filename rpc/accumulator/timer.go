package accumulator

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"time"
)

// Timer is what is kept of durations: how many, their sum and the sum of their
// squares, the shortest and the longest, and a histogram. All of it is exact, in
// nanoseconds; the squares stop at 2^128-1. Durations may be negative.
type Timer struct {
	count    uint64
	sum      wide
	squares  wide // unsigned
	min, max int64
	buckets  Buckets
}

// Observe takes a duration.
func (t *Timer) Observe(d time.Duration) {
	v := int64(d)
	if t.count == 0 {
		t.min, t.max = v, v
	}
	t.count++
	t.sum = t.sum.plus(wideOf(v))
	t.squares = t.squares.saturate(square(v))
	t.min, t.max = min(t.min, v), max(t.max, v)
	t.buckets.add(d)
}

func square(v int64) wide {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	hi, lo := bits.Mul64(u, u)
	return wide{int64(hi), lo}
}

// saturate adds unsigned numbers, as far as there is room.
func (w wide) saturate(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, over := bits.Add64(uint64(w.hi), uint64(v.hi), carry)
	if over != 0 {
		return wide{-1, ^uint64(0)}
	}
	return wide{int64(hi), lo}
}

// bigUnsigned is the number if w is unsigned.
func (w wide) bigUnsigned() *big.Int {
	n := new(big.Int).SetUint64(uint64(w.hi))
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(w.lo))
}

// Count returns how many durations there were.
func (t *Timer) Count() uint64 { return t.count }

// Min returns the shortest duration; 0 if there is none.
func (t *Timer) Min() time.Duration { return time.Duration(t.min) }

// Max returns the longest duration; 0 if there is none.
func (t *Timer) Max() time.Duration { return time.Duration(t.max) }

// Sum returns the sum of the durations, in nanoseconds.
func (t *Timer) Sum() *big.Int { return t.sum.big() }

// Squares returns the sum of the durations' squares, in square nanoseconds.
func (t *Timer) Squares() *big.Int { return t.squares.bigUnsigned() }

// Buckets returns the histogram. It is the timer's own: do not change it.
func (t *Timer) Buckets() *Buckets { return &t.buckets }

// Stats are a timer's figures in a unit of time; Variance is in that unit's
// square. All are 0 if Count is.
type Stats struct {
	Count                         uint64
	Sum, Mean, Variance, Min, Max float64
}

// Stats returns the figures in a unit: [time.Microsecond], [time.Hour] and so on.
func (t *Timer) Stats(unit time.Duration) Stats {
	if t.count == 0 || unit <= 0 {
		return Stats{}
	}
	in := float64(unit)
	return Stats{
		Count:    t.count,
		Sum:      t.sum.float() / in,
		Mean:     t.sum.float() / float64(t.count) / in,
		Variance: t.variance() / in / in,
		Min:      float64(t.min) / in,
		Max:      float64(t.max) / in,
	}
}

// variance is of all durations, in square nanoseconds. In integers, because the
// difference of two large numbers is what is left of it.
func (t *Timer) variance() float64 {
	n := new(big.Int).SetUint64(t.count)
	sum := t.Sum()
	above := new(big.Int).Mul(n, t.Squares())
	above.Sub(above, sum.Mul(sum, sum))
	if above.Sign() < 0 { // the squares stopped
		above.SetInt64(0)
	}
	v, _ := new(big.Rat).SetFrac(above, n.Mul(n, n)).Float64()
	return v
}

// Merge implements [Aggregator].
func (t *Timer) Merge(other Aggregator) error {
	o, err := same[*Timer](other)
	if err != nil || o.count == 0 {
		return err
	}
	count, err := plus(t.count, o.count)
	if err != nil {
		return err
	}
	if t.count == 0 {
		t.min, t.max = o.min, o.max
	}
	t.count = count
	t.sum = t.sum.plus(o.sum)
	t.squares = t.squares.saturate(o.squares)
	t.min, t.max = min(t.min, o.min), max(t.max, o.max)
	t.buckets.merge(&o.buckets)
	return nil
}

// AppendBinary implements [Aggregator].
func (t *Timer) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.AppendUvarint(dst, t.count)
	if t.count == 0 {
		return dst, nil
	}
	dst = t.squares.append(t.sum.append(dst))
	dst = binary.AppendVarint(binary.AppendVarint(dst, t.min), t.max)
	return t.buckets.append(dst), nil
}

// UnmarshalBinary implements [Aggregator].
func (t *Timer) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	*t = Timer{count: r.uvarint()}
	if t.count == 0 {
		return r.done()
	}
	t.sum, t.squares = r.wide(), r.wide()
	t.min, t.max = r.varint(), r.varint()
	total := t.buckets.read(&r)
	if total != t.count || t.min > t.max {
		return malformed("a timer contradicts itself")
	}
	return r.done()
}
