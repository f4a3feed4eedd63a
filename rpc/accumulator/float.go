package accumulator

import (
	"encoding/binary"
	"math"
)

// FloatSum is a sum of float64. It keeps what rounding has cut off and gives it
// back at the end (Neumaier), so that the order in which many nodes are merged
// makes little difference. A value that is no number is left out: one of them
// would be all that is left of the sum.
type FloatSum struct{ sum, rest float64 }

// Add adds a value.
func (f *FloatSum) Add(v float64) {
	switch t := f.sum + v; {
	case math.IsNaN(v):
	case math.IsNaN(t), math.IsInf(t, 0):
		f.sum, f.rest = t, 0
	case math.Abs(f.sum) >= math.Abs(v):
		f.sum, f.rest = t, f.rest+(f.sum-t+v)
	default:
		f.sum, f.rest = t, f.rest+(v-t+f.sum)
	}
}

// Value returns the sum: infinite if there was no other way, and no number if
// infinities of both signs were added.
func (f *FloatSum) Value() float64 { return f.sum + f.rest }

// Merge implements [Aggregator].
func (f *FloatSum) Merge(other Aggregator) error {
	o, err := same[*FloatSum](other)
	if err == nil {
		f.merge(o)
	}
	return err
}

func (f *FloatSum) merge(o *FloatSum) {
	if math.IsNaN(o.sum) {
		f.sum, f.rest = o.sum, 0
		return
	}
	f.Add(o.sum)
	f.Add(o.rest)
}

// AppendBinary implements [Aggregator].
func (f *FloatSum) AppendBinary(dst []byte) ([]byte, error) {
	return appendFloat(appendFloat(dst, f.sum), f.rest), nil
}

// UnmarshalBinary implements [Aggregator].
func (f *FloatSum) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	f.read(&r)
	return r.done()
}

func (f *FloatSum) read(r *reader) {
	f.sum, f.rest = r.float(), r.float()
	if math.IsNaN(f.rest) || math.IsInf(f.rest, 0) {
		r.fail()
	}
}

// Avg is an average of float64. Values that are no numbers are left out.
type Avg struct {
	count uint64
	sum   FloatSum
}

// Add takes a value.
func (a *Avg) Add(v float64) {
	if !math.IsNaN(v) {
		a.count++
		a.sum.Add(v)
	}
}

// Count returns how many values there were.
func (a *Avg) Count() uint64 { return a.count }

// Sum returns their sum.
func (a *Avg) Sum() float64 { return a.sum.Value() }

// Mean returns their average; false: there are none.
func (a *Avg) Mean() (float64, bool) {
	if a.count == 0 {
		return 0, false
	}
	return a.Sum() / float64(a.count), true
}

// Merge implements [Aggregator].
func (a *Avg) Merge(other Aggregator) error {
	o, err := same[*Avg](other)
	if err != nil {
		return err
	}
	count, err := plus(a.count, o.count)
	if err == nil {
		a.count = count
		a.sum.merge(&o.sum)
	}
	return err
}

// AppendBinary implements [Aggregator].
func (a *Avg) AppendBinary(dst []byte) ([]byte, error) {
	return a.sum.AppendBinary(binary.AppendUvarint(dst, a.count))
}

// UnmarshalBinary implements [Aggregator].
func (a *Avg) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	a.count = r.uvarint()
	a.sum.read(&r)
	return r.done()
}
