package matmul

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The kernel agrees with the textbook for every order, unroll factor and
// packing, with tiles that divide the matrix, do not divide it, or exceed it.
func TestKernelIsRightForEveryConfiguration(t *testing.T) {
	pad, err := newScratchpad()
	if err != nil {
		t.Fatal(err)
	}
	defer pad.close()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 33).Draw(t, "n")
		tile := rapid.IntRange(1, 40)
		cfg := Config{
			TileM: tile.Draw(t, "tm"), TileN: tile.Draw(t, "tn"), TileK: tile.Draw(t, "tk"),
			Order:  rapid.SampledFrom(Orders()).Draw(t, "order"),
			Unroll: rapid.SampledFrom(Unrolls()).Draw(t, "unroll"),
			Pack:   rapid.Bool().Draw(t, "pack"),
		}
		element := rapid.Float32Range(-4, 4)
		a := rapid.SliceOfN(element, n*n, n*n).Draw(t, "a")
		b := rapid.SliceOfN(element, n*n, n*n).Draw(t, "b")
		c := rapid.SliceOfN(element, n*n, n*n).Draw(t, "what c held before")
		newBlocked(cfg, c, a, b, n, pad).run()
		for i := range n {
			for j := range n {
				var want float64
				for k := range n {
					want += float64(a[i*n+k]) * float64(b[k*n+j])
				}
				if got := float64(c[i*n+j]); math.Abs(got-want) > 5e-3 {
					t.Fatalf("%v: c[%d,%d] = %g, want %g", cfg, i, j, got, want)
				}
			}
		}
	})
}

func TestEveryOrderAndUnrollOnTheReferenceProblem(t *testing.T) {
	const n = 50
	a, b := Inputs(n)
	want := Checksum(Reference(n), n)
	c := make([]float32, n*n)
	for _, order := range Orders() {
		for _, unroll := range Unrolls() {
			for _, pack := range []bool{false, true} {
				cfg := Config{TileM: 16, TileN: 24, TileK: 8, Order: order, Unroll: unroll, Pack: pack}
				got, err := Run(cfg, n, a, b, c, 0)
				if err != nil {
					t.Fatalf("%v: %v", cfg, err)
				}
				if !Same(got.Checksum, want) {
					t.Errorf("%v: checksum %g, want %g", cfg, got.Checksum, want)
				}
			}
		}
	}
}

func TestMeasurementTakesTheTimeItIsGiven(t *testing.T) {
	const n = 32
	a, b := Inputs(n)
	got, err := Run(Naive(), n, a, b, make([]float32, n*n), 0.01)
	if err != nil {
		t.Fatal(err)
	}
	if got.Seconds <= 0 || got.Repeats < minRepeats {
		t.Errorf("measured %+v: want a positive time of at least %d repeats", got, minRepeats)
	}
	if total := got.Seconds * float64(got.Repeats); got.Repeats < maxRepeats && total < 0.002 {
		t.Errorf("%d repeats of %g s: stopped long before 10 ms", got.Repeats, got.Seconds)
	}
}

func TestWrongResultsChangeTheChecksum(t *testing.T) {
	const n = 16
	right := Reference(n)
	want := Checksum(right, n)
	damage := map[string]func(c []float32){
		"one element off":          func(c []float32) { c[n+3] += 0.5 },
		"two rows exchanged":       func(c []float32) { swap(c[:n], c[n:2*n]) },
		"not a number":             func(c []float32) { c[7] = float32(math.NaN()) },
		"a term counted twice":     func(c []float32) { c[0] += 1.0 / 64 * 16 },
		"all zero, nothing stored": func(c []float32) { clear(c) },
	}
	for name, f := range damage {
		c := append([]float32(nil), right...)
		f(c)
		if Same(Checksum(c, n), want) {
			t.Errorf("%s: checksum %g passes for %g", name, Checksum(c, n), want)
		}
	}
	if !Same(want, want) {
		t.Errorf("checksum %g does not agree with itself", want)
	}
}

func swap(x, y []float32) {
	for i := range x {
		x[i], y[i] = y[i], x[i]
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	const n = 4
	a, b := Inputs(n)
	c := make([]float32, n*n)
	with := func(f func(*Config)) Config {
		cfg := Naive()
		f(&cfg)
		return cfg
	}
	cases := []struct {
		name    string
		cfg     Config
		n       int
		a       []float32
		seconds float64
		want    string
	}{
		{"no rows in a tile", with(func(c *Config) { c.TileM = 0 }), n, a, 0, "tm=0"},
		{"negative tile", with(func(c *Config) { c.TileN = -8 }), n, a, 0, "tn=-8"},
		{"huge tile", with(func(c *Config) { c.TileK = MaxN + 1 }), n, a, 0, "tk=4097"},
		{"order that repeats a loop", with(func(c *Config) { c.Order = "iij" }), n, a, 0, `"iij"`},
		{"odd unroll factor", with(func(c *Config) { c.Unroll = 3 }), n, a, 0, "unroll factor 3"},
		{"no problem", Naive(), 0, a, 0, "problem size 0"},
		{"problem too large", Naive(), MaxN + 1, a, 0, "problem size 4097"},
		{"operand too short", Naive(), n, a[1:], 0, "15, 16 and 16 elements"},
		{"no time at all", Naive(), n, a, math.NaN(), "NaN"},
		{"negative time", Naive(), n, a, -1, "-1 s"},
		{"an hour of repeats", Naive(), n, a, 3600, "3600 s"},
	}
	for _, tc := range cases {
		_, err := Run(tc.cfg, tc.n, tc.a, b, c, tc.seconds)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one that names %s", tc.name, err, tc.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		times []float64
		want  float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(append([]float64(nil), tc.times...)); got != tc.want {
			t.Errorf("median of %v is %g, want %g", tc.times, got, tc.want)
		}
	}
}

func TestConfigReadsWell(t *testing.T) {
	cfg := Config{TileM: 32, TileN: 64, TileK: 16, Order: "ikj", Unroll: 4, Pack: true}
	if got, want := cfg.String(), "32×64×16 ikj unroll 4 packed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Naive().String(), "1×1×256 ijk unroll 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkKernel(bm *testing.B) {
	const n = 256
	a, b := Inputs(n)
	c := make([]float32, n*n)
	pad, err := newScratchpad()
	if err != nil {
		bm.Fatal(err)
	}
	defer pad.close()
	for _, cfg := range []Config{
		Naive(),
		{TileM: 64, TileN: 64, TileK: 64, Order: "ijk", Unroll: 4, Pack: true},
		{TileM: 8, TileN: 256, TileK: 128, Order: "ikj", Unroll: 8},
		{TileM: 2, TileN: 2, TileK: 2, Order: "kji", Unroll: 1},
	} {
		bm.Run(cfg.String(), func(bm *testing.B) {
			r := newBlocked(cfg, c, a, b, n, pad)
			for bm.Loop() {
				r.run()
			}
			bm.ReportMetric(2*n*n*n*float64(bm.N)/bm.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
