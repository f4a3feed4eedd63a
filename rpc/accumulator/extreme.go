package accumulator

import "math"

// extreme is the greatest or the least value so far. That there is one is told by
// itself: no number stands for none (the forerunner began with the least positive
// one, and was wrong for what is negative).
type extreme struct {
	value float64
	some  bool
}

func (e *extreme) append(dst []byte) ([]byte, error) {
	if e.some {
		dst = appendFloat(dst, e.value)
	}
	return dst, nil
}

func (e *extreme) read(b []byte) error {
	*e = extreme{}
	if len(b) == 0 {
		return nil
	}
	r := reader{rest: b}
	*e = extreme{r.float(), true}
	if math.IsNaN(e.value) {
		return malformed("a greatest or least value is no number")
	}
	return r.done()
}

// Max is the greatest of float64 values. Values that are no numbers are left out.
type Max struct{ extreme }

// Add takes a value.
func (m *Max) Add(v float64) {
	if v > m.value || !m.some && !math.IsNaN(v) {
		m.extreme = extreme{v, true}
	}
}

// Value returns the greatest value; false: there is none.
func (m *Max) Value() (float64, bool) { return m.value, m.some }

// Merge implements [Aggregator].
func (m *Max) Merge(other Aggregator) error {
	o, err := same[*Max](other)
	if err == nil && o.some {
		m.Add(o.value)
	}
	return err
}

// AppendBinary implements [Aggregator].
func (m *Max) AppendBinary(dst []byte) ([]byte, error) { return m.append(dst) }

// UnmarshalBinary implements [Aggregator].
func (m *Max) UnmarshalBinary(b []byte) error { return m.read(b) }

// Min is the least of float64 values. Values that are no numbers are left out.
type Min struct{ extreme }

// Add takes a value.
func (m *Min) Add(v float64) {
	if v < m.value || !m.some && !math.IsNaN(v) {
		m.extreme = extreme{v, true}
	}
}

// Value returns the least value; false: there is none.
func (m *Min) Value() (float64, bool) { return m.value, m.some }

// Merge implements [Aggregator].
func (m *Min) Merge(other Aggregator) error {
	o, err := same[*Min](other)
	if err == nil && o.some {
		m.Add(o.value)
	}
	return err
}

// AppendBinary implements [Aggregator].
func (m *Min) AppendBinary(dst []byte) ([]byte, error) { return m.append(dst) }

// UnmarshalBinary implements [Aggregator].
func (m *Min) UnmarshalBinary(b []byte) error { return m.read(b) }
