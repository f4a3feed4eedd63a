package accumulator

import "time"

// Handles write to one accumulator each. Keep them: to find one by its name costs
// more than a write. A nil one, which a [Client] gives when it cannot give another,
// takes anything and does nothing.
type (
	// SumWriter writes to a [Sum].
	SumWriter struct{ series[Sum, *Sum] }
	// FloatSumWriter writes to a [FloatSum].
	FloatSumWriter struct{ series[FloatSum, *FloatSum] }
	// AvgWriter writes to an [Avg].
	AvgWriter struct{ series[Avg, *Avg] }
	// MaxWriter writes to a [Max].
	MaxWriter struct{ series[Max, *Max] }
	// MinWriter writes to a [Min].
	MinWriter struct{ series[Min, *Min] }
	// TimerWriter writes to a [Timer].
	TimerWriter struct{ series[Timer, *Timer] }
	// Writer writes to a custom aggregator.
	Writer[S any, P pointer[S]] struct{ series[S, P] }
)

// Add adds a value.
func (w *SumWriter) Add(v int64) {
	if w != nil {
		sh := w.enter()
		sh.state.Add(v)
		w.leave(sh)
	}
}

// Add adds a value.
func (w *FloatSumWriter) Add(v float64) {
	if w != nil {
		sh := w.enter()
		sh.state.Add(v)
		w.leave(sh)
	}
}

// Add adds a value.
func (w *AvgWriter) Add(v float64) {
	if w != nil {
		sh := w.enter()
		sh.state.Add(v)
		w.leave(sh)
	}
}

// Add adds a value.
func (w *MaxWriter) Add(v float64) {
	if w != nil {
		sh := w.enter()
		sh.state.Add(v)
		w.leave(sh)
	}
}

// Add adds a value.
func (w *MinWriter) Add(v float64) {
	if w != nil {
		sh := w.enter()
		sh.state.Add(v)
		w.leave(sh)
	}
}

// Observe adds a duration. It does so whether scope timers are on or off.
func (w *TimerWriter) Observe(d time.Duration) {
	if w != nil {
		sh := w.enter()
		sh.state.Observe(d)
		w.leave(sh)
	}
}

// Update calls change with an aggregator, as one write. Nobody else has it meanwhile; change
// must be quick, and keep nothing of it.
func (w *Writer[S, P]) Update(change func(P)) {
	if w == nil {
		return
	}
	sh := w.enter()
	defer w.leave(sh)
	change(&sh.state)
}

// Sum returns the handle of the sum of integers of that name and with those
// labels. It is nil if there cannot be one: the next [Client.Flush] says why, as do
// the options' OnError. That is so for all handles.
func (c *Client) Sum(name string, labels ...Label) *SumWriter {
	return get[SumWriter](c, TypeSum, name, labels)
}

// FloatSum returns the handle of a sum of floating-point numbers.
func (c *Client) FloatSum(name string, labels ...Label) *FloatSumWriter {
	return get[FloatSumWriter](c, TypeFloatSum, name, labels)
}

// Avg returns the handle of an average.
func (c *Client) Avg(name string, labels ...Label) *AvgWriter {
	return get[AvgWriter](c, TypeAvg, name, labels)
}

// Max returns the handle of a greatest value.
func (c *Client) Max(name string, labels ...Label) *MaxWriter {
	return get[MaxWriter](c, TypeMax, name, labels)
}

// Min returns the handle of a least value.
func (c *Client) Min(name string, labels ...Label) *MinWriter {
	return get[MinWriter](c, TypeMin, name, labels)
}

// Timer returns the handle of a timer.
func (c *Client) Timer(name string, labels ...Label) *TimerWriter {
	return get[TimerWriter](c, TypeTimer, name, labels)
}

// Of returns the handle of a custom aggregator, of a type that the server knows by
// the name typ.
//
//	w := accumulator.Of[Set](c, "app.set", "users")
//	w.Update(func(s *Set) { s.Put("Eve") })
func Of[S any, P pointer[S]](c *Client, typ, name string, labels ...Label) *Writer[S, P] {
	return get[Writer[S, P]](c, typ, name, labels)
}
