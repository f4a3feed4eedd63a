package accumulator

import (
	"encoding/binary"
	"math"
	"time"
)

// BucketSchema is how fine the histogram of a [Timer] is, as Prometheus counts: a
// bucket ends at 2^(i/4) seconds, 19 % above the one before it.
const BucketSchema = 2

// perDouble is how many buckets there are from a number to its double.
const perDouble = 1 << BucketSchema

// The buckets of the shortest and of the longest duration: 1 ns, 2^63 ns.
const (
	firstBucket = -119
	lastBucket  = 133
)

// Buckets is the histogram of a [Timer]. Bucket i has what is longer than
// 2^((i-1)/4) s and at most 2^(i/4) s, or in Negative what is so after its sign is
// taken off.
type Buckets struct {
	Zero               uint64
	Positive, Negative Span
}

// Span has the counts of consecutive buckets from First on. Neither the first of
// them nor the last is 0.
type Span struct {
	First  int
	Counts []uint64
}

func (b *Buckets) add(d time.Duration) {
	switch {
	case d == 0:
		b.Zero++
	case d > 0:
		b.Positive.add(bucket(d.Seconds()), 1)
	default:
		b.Negative.add(bucket(-d.Seconds()), 1)
	}
}

// bucket returns the bucket of so many seconds.
func bucket(s float64) int {
	fraction, exponent := math.Frexp(s) // 0.5 <= fraction < 1
	i := (exponent - 1) * perDouble
	for _, end := range [perDouble]float64{0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144} {
		if fraction <= end {
			return i
		}
		i++
	}
	return i
}

func (s *Span) add(i int, n uint64) {
	switch {
	case len(s.Counts) == 0:
		s.First, s.Counts = i, append(s.Counts, 0)
	case i < s.First:
		s.Counts = append(make([]uint64, s.First-i, s.First-i+len(s.Counts)), s.Counts...)
		s.First = i
	case i >= s.First+len(s.Counts):
		s.Counts = append(s.Counts, make([]uint64, i+1-s.First-len(s.Counts))...)
	}
	s.Counts[i-s.First] += n
}

func (b *Buckets) merge(o *Buckets) {
	b.Zero += o.Zero
	b.Positive.merge(o.Positive)
	b.Negative.merge(o.Negative)
}

func (s *Span) merge(o Span) {
	for i, n := range o.Counts {
		if n > 0 {
			s.add(o.First+i, n)
		}
	}
}

func (b *Buckets) append(dst []byte) []byte {
	return b.Negative.append(b.Positive.append(binary.AppendUvarint(dst, b.Zero)))
}

func (s *Span) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.Counts)))
	if len(s.Counts) == 0 {
		return dst
	}
	dst = binary.AppendVarint(dst, int64(s.First))
	for _, n := range s.Counts {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// read returns how many durations are in all buckets.
func (b *Buckets) read(r *reader) uint64 {
	b.Zero = r.uvarint()
	total := b.Positive.read(r, b.Zero)
	return b.Negative.read(r, total)
}

// read returns total and what it has read; too many is an error.
func (s *Span) read(r *reader, total uint64) uint64 {
	n := r.uvarint()
	if n == 0 {
		return total
	}
	first := r.varint()
	if n > uint64(len(r.rest)) || n > lastBucket-firstBucket+1 || first < firstBucket || first+int64(n)-1 > lastBucket {
		r.fail()
		return total
	}
	s.First, s.Counts = int(first), make([]uint64, n)
	for i := range s.Counts {
		s.Counts[i] = r.uvarint()
		sum, err := plus(total, s.Counts[i])
		if err != nil {
			r.fail()
		}
		total = sum
	}
	if s.Counts[0] == 0 || s.Counts[n-1] == 0 {
		r.fail()
	}
	return total
}
