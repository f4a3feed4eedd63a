package matmul

import "math"

// Inputs returns the two n×n operands, row by row. They are the same for
// everyone who asks, so that a result can be verified without moving them. The
// elements are multiples of 1/8 between -1 and 1: for n up to [MaxN] every
// partial sum is exact in float32, whatever the order of the terms.
func Inputs(n int) (a, b []float32) {
	a, b = make([]float32, n*n), make([]float32, n*n)
	for r := range n {
		for c := range n {
			a[r*n+c] = float32((7*r+13*c+r*c)%17-8) / 8
			b[r*n+c] = float32((11*r+5*c+3*r*c)%17-8) / 8
		}
	}
	return a, b
}

// Reference returns the product of [Inputs] by the textbook's triple loop in
// float64; it shares no code with the kernel.
func Reference(n int) []float32 {
	a, b := Inputs(n)
	c := make([]float32, n*n)
	row := make([]float64, n)
	for i := range n {
		clear(row)
		for k := range n {
			x := float64(a[i*n+k])
			for j := range n {
				row[j] += x * float64(b[k*n+j])
			}
		}
		for j, v := range row {
			c[i*n+j] = float32(v)
		}
	}
	return c
}

// Checksum condenses an n×n matrix to one number. Every element has a weight
// that depends on its place, so that right values in wrong places show.
func Checksum(c []float32, n int) float64 {
	var s float64
	for i := range n {
		for j := range n {
			s += float64(c[i*n+j]) * float64((31*i+17*j)%97+1)
		}
	}
	return s
}

// Same reports whether two checksums, or two elements, agree: relative to
// their size, or absolutely if they are small. NaN agrees with nothing.
func Same(got, want float64) bool {
	return math.Abs(got-want) <= 1e-5*math.Max(1, math.Abs(want))
}
