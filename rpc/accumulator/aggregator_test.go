package accumulator

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// gathered writes values on several nodes, each of which sends what it has, and
// merges that in some order.
func gathered[S any, V any, P pointer[S]](t *rapid.T, values []V, add func(P, V)) P {
	nodes := make([]S, rapid.IntRange(1, 5).Draw(t, "nodes"))
	for _, v := range values {
		add(&nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")], v)
	}
	total := P(new(S))
	for _, i := range rapid.Permutation(seq(len(nodes))).Draw(t, "order") {
		wire, err := P(&nodes[i]).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		came := P(new(S))
		if err := came.UnmarshalBinary(wire); err != nil {
			t.Fatalf("% x: %v", wire, err)
		}
		if err := total.Merge(came); err != nil {
			t.Fatal(err)
		}
	}
	return total
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func bigSum[V any](values []V, of func(V) *big.Int) *big.Int {
	sum := new(big.Int)
	for _, v := range values {
		sum.Add(sum, of(v))
	}
	return sum
}

// awkward are integers of which sums overflow and floats lose bits.
func awkward() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3),
		rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, 1<<53 + 1, -1<<53 - 1}))
}

func TestS1_42_SumOfIntegersIsExactBeyondFloatsAndInt64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(awkward()).Draw(t, "values")
		got := gathered(t, values, (*Sum).Add)
		want := bigSum(values, big.NewInt)
		if got.Big().Cmp(want) != 0 || got.String() != want.String() {
			t.Fatalf("%s, want %s", got, want)
		}
		if v, ok := got.Int64(); ok != want.IsInt64() || ok && v != want.Int64() {
			t.Fatalf("as int64: %d, %v; want %s", v, ok, want)
		}
		if f, _ := new(big.Float).SetInt(want).Float64(); got.Float64() != f {
			t.Fatalf("as float64: %g, want %g", got.Float64(), f)
		}
	})
}

// floats are numbers of all sizes that cancel each other.
func floats() *rapid.Generator[float64] {
	return rapid.OneOf(rapid.Float64Range(-1e9, 1e9), rapid.Float64Range(-1, 1),
		rapid.SampledFrom([]float64{1e16, -1e16, 1, -1, 1e-9, math.NaN()}))
}

// exact returns the sum of the numbers among the values, that of their sizes, and
// how many they are.
func exact(values []float64) (sum, size float64, n int) {
	exact := new(big.Float).SetPrec(2000)
	for _, v := range values {
		if !math.IsNaN(v) {
			exact.Add(exact, big.NewFloat(v))
			size += math.Abs(v)
			n++
		}
	}
	sum, _ = exact.Float64()
	return sum, size, n
}

// near fails unless got is the sum but for the last bits, whatever cancelled.
func near(t *rapid.T, got, want, size float64) {
	const ulp = 0x1p-52
	if math.Abs(got-want) > 4*ulp*math.Abs(want)+1e4*ulp*ulp*size {
		t.Fatalf("%g, want %g: off by %g", got, want, got-want)
	}
}

func TestS1_42_SumOfFloatsIsRightWhatCancels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(floats()).Draw(t, "values")
		want, size, _ := exact(values)
		near(t, gathered(t, values, (*FloatSum).Add).Value(), want, size)
	})
}

func TestS1_42_Avg(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(floats()).Draw(t, "values")
		got := gathered(t, values, (*Avg).Add)
		want, size, n := exact(values)
		near(t, got.Sum(), want, size)
		mean, ok := got.Mean()
		if ok != (n > 0) || got.Count() != uint64(n) || ok && mean != got.Sum()/float64(n) {
			t.Fatalf("mean %g, %v of %d values, want %d", mean, ok, got.Count(), n)
		}
	})
}

func TestS1_42_MaxAndMinOfNegativesToo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.OneOf(floats(), rapid.Float64(), rapid.Float64Max(-1),
			rapid.SampledFrom([]float64{math.Inf(1), math.Inf(-1)}))).Draw(t, "values")
		numbers := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
		most, ok1 := gathered(t, values, (*Max).Add).Value()
		least, ok2 := gathered(t, values, (*Min).Add).Value()
		if ok1 != (len(numbers) > 0) || ok2 != ok1 {
			t.Fatalf("of %v there is a value: %v, %v", values, ok1, ok2)
		}
		if ok1 && (most != slices.Max(numbers) || least != slices.Min(numbers)) {
			t.Fatalf("%v is within %g and %g", values, least, most)
		}
	})
}

func TestS1_42_TimerOfNegativesToo(t *testing.T) {
	durations := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.OneOf(awkward(), rapid.Int64Range(-1e9, 1e9)).Draw(t, "ns"))
	})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(durations).Draw(t, "values")
		got := gathered(t, values, (*Timer).Observe)
		sum := bigSum(values, func(d time.Duration) *big.Int { return big.NewInt(int64(d)) })
		squares := bigSum(values, func(d time.Duration) *big.Int { return new(big.Int).Exp(big.NewInt(int64(d)), big.NewInt(2), nil) })
		limit := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))
		if squares.Cmp(limit) > 0 {
			squares = limit
		}
		if got.Count() != uint64(len(values)) || got.Sum().Cmp(sum) != 0 || got.Squares().Cmp(squares) != 0 {
			t.Fatalf("%d, %s, %s; want %d, %s, %s", got.Count(), got.Sum(), got.Squares(), len(values), sum, squares)
		}
		if len(values) > 0 && (got.Min() != slices.Min(values) || got.Max() != slices.Max(values)) {
			t.Fatalf("%v is within %v and %v", values, got.Min(), got.Max())
		}
		sameBuckets(t, got.Buckets(), values)
	})
}

// sameBuckets counts by the definition of a bucket.
func sameBuckets(t *rapid.T, b *Buckets, values []time.Duration) {
	want := map[int]uint64{}
	zero := uint64(0)
	for _, d := range values {
		if d == 0 {
			zero++
			continue
		}
		s := math.Abs(d.Seconds())
		i := int(math.Ceil(math.Log2(s)*perDouble - 1e-9))
		if d < 0 {
			i += 1000
		}
		want[i]++
	}
	got := map[int]uint64{}
	for offset, span := range map[int]Span{0: b.Positive, 1000: b.Negative} {
		for i, n := range span.Counts {
			if n > 0 {
				got[span.First+i+offset] += n
			}
		}
	}
	if b.Zero != zero || len(got) != len(want) {
		t.Fatalf("%v and %d zeros, want %v and %d", got, b.Zero, want, zero)
	}
	for i, n := range want {
		if got[i] != n {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestBucketsAtTheirEnds(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want int
	}{
		{time.Second, 0}, {time.Second + 1, 1}, {2 * time.Second, 4}, {500 * time.Millisecond, -4},
		{1, firstBucket}, {math.MaxInt64, lastBucket},
	} {
		if got := bucket(c.d.Seconds()); got != c.want {
			t.Errorf("%v is in bucket %d, want %d", c.d, got, c.want)
		}
	}
	if got := bucket(-time.Duration(math.MinInt64).Seconds()); got != lastBucket {
		t.Errorf("the longest negative duration is in bucket %d", got)
	}
}

// The mean is a million times the deviation: squares in floating point would leave
// nothing of it.
func TestS1_42_TimerVarianceDoesNotCancel(t *testing.T) {
	var timer Timer
	for _, d := range []time.Duration{time.Hour - 3, time.Hour, time.Hour + 3} {
		timer.Observe(d)
	}
	want := Stats{Count: 3, Sum: 3 * 3600e9, Mean: 3600e9, Variance: 6, Min: 3600e9 - 3, Max: 3600e9 + 3}
	if got := timer.Stats(time.Nanosecond); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	var longest Timer
	for range 8 {
		longest.Observe(math.MinInt64)
	}
	if v := longest.Stats(time.Hour).Variance; v != 0 {
		t.Errorf("variance %g after the squares have stopped", v)
	}
	if (&Timer{}).Stats(time.Second) != (Stats{}) || timer.Stats(0) != (Stats{}) {
		t.Error("there are figures of nothing")
	}
}

func TestInfiniteSumsStayWhatTheyAre(t *testing.T) {
	var up, both, overflow FloatSum
	up.Add(math.Inf(1))
	up.Add(1)
	both.Merge(&up)
	both.Add(math.Inf(-1))
	overflow.Add(math.MaxFloat64)
	overflow.Add(math.MaxFloat64)
	overflow.Add(-1)
	var merged FloatSum
	merged.Merge(&both)
	if !math.IsInf(up.Value(), 1) || !math.IsInf(overflow.Value(), 1) || !math.IsNaN(both.Value()) || !math.IsNaN(merged.Value()) {
		t.Errorf("%g, %g, %g, %g", up.Value(), overflow.Value(), both.Value(), merged.Value())
	}
}

func TestS1_43_DifferentTypesDoNotMerge(t *testing.T) {
	all := builtin()
	for a, makeA := range all {
		for b, makeB := range all {
			err := makeA().Merge(makeB())
			if (a == b) != (err == nil) || err != nil && !errors.Is(err, ErrType) {
				t.Errorf("%s and %s: %v", a, b, err)
			}
		}
	}
}

func TestStatesThatContradictThemselvesAreRefused(t *testing.T) {
	float := func(v float64) []byte { return appendFloat(nil, v) }
	timer := func(change func(*Timer)) []byte {
		var t Timer
		t.Observe(-1)
		t.Observe(time.Second)
		change(&t)
		b, _ := t.AppendBinary(nil)
		return b
	}
	for name, c := range map[string]struct {
		typ   string
		state []byte
	}{
		"nothing is no sum":              {TypeSum, nil},
		"a sum with a longer form":       {TypeSum, make([]byte, wideLen)},
		"a varint with a longer form":    {TypeSum, []byte{0x80, 0}},
		"a sum and something":            {TypeSum, []byte{2, 2}},
		"half a float":                   {TypeMax, float(1)[:4]},
		"a greatest value is no number":  {TypeMax, float(math.NaN())},
		"rounding cut off infinity":      {TypeFloatSum, append(float(1), float(math.Inf(1))...)},
		"an average without its sum":     {TypeAvg, []byte{1}},
		"more durations than in buckets": {TypeTimer, timer(func(t *Timer) { t.count++ })},
		"the shortest is longer":         {TypeTimer, timer(func(t *Timer) { t.min = t.max + 1 })},
		"an empty bucket at the end":     {TypeTimer, timer(func(t *Timer) { t.buckets.Positive.Counts = []uint64{1, 0} })},
		"no such bucket":                 {TypeTimer, timer(func(t *Timer) { t.buckets.Positive.First = lastBucket + 1 })},
		"buckets overflow":               {TypeTimer, timer(func(t *Timer) { t.buckets.Zero = math.MaxUint64 - 1; t.buckets.Positive.Counts[0] = 3 })},
		"no such type":                   {"nonsense", nil},
	} {
		if a, err := builtin().decode(c.typ, c.state); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
