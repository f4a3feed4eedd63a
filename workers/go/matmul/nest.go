package matmul

// nest is one of the three loop nests over the elements of a tile: c += a·b
// for an m×k tile a and a k×n tile b, with the middle loop unrolled by u.
type nest func(c, a, b view, m, n, k, u int)

// dotNest is the order ijk: each element of c is a dot product; u columns of b
// share one pass over a row of a.
func dotNest(c, a, b view, m, n, k, u int) {
	for i := range m {
		x, y := a.from(i, 0), c.from(i, 0)
		j := 0
		for ; j+u <= n; j += u {
			dot(u, y.data[j*y.cs:], y.cs, x.data, x.cs, b.data[j*b.cs:], b.rs, b.cs, k)
		}
		for ; j < n; j++ {
			dot1(y.data[j*y.cs:], x.data, x.cs, b.data[j*b.cs:], b.rs, k)
		}
	}
}

// sumNest is the order ikj: a row of c gathers multiples of rows of b, u rows
// of b in one pass over the row of c.
func sumNest(c, a, b view, m, n, k, u int) {
	for i := range m {
		s, y := a.from(i, 0), c.from(i, 0)
		p := 0
		for ; p+u <= k; p += u {
			sum(u, y.data, y.cs, s.data[p*s.cs:], s.cs, b.data[p*b.rs:], b.cs, b.rs, n)
		}
		for ; p < k; p++ {
			sum1(y.data, y.cs, s.data[p*s.cs], b.data[p*b.rs:], b.cs, n)
		}
	}
}

// outerNest is the order kij: multiples of a row of b go to rows of c, to u
// rows of c in one pass over the row of b.
func outerNest(c, a, b view, m, n, k, u int) {
	for p := range k {
		s, x := a.from(0, p), b.from(p, 0)
		i := 0
		for ; i+u <= m; i += u {
			outer(u, c.data[i*c.rs:], c.cs, c.rs, s.data[i*s.rs:], s.rs, x.data, x.cs, n)
		}
		for ; i < m; i++ {
			sum1(c.data[i*c.rs:], c.cs, s.data[i*s.rs], x.data, x.cs, n)
		}
	}
}

// plan is a configuration made ready to run: the canonical nest, and whether
// the operands are swapped and transposed to get there.
type plan struct {
	nest    nest
	loops   [3]int // of the tile loops, outermost first: 0 is i, 1 is j, 2 is k
	swapped bool
	// layout of packed tiles: the strides that make the innermost loop dense
	layoutA, layoutB func(rows, cols int) (rs, cs int)
}

func rowLayout(_, cols int) (rs, cs int)    { return cols, 1 }
func columnLayout(rows, _ int) (rs, cs int) { return 1, rows }

// planOf maps the six orders to three nests: Cᵀ = Bᵀ·Aᵀ swaps i and j.
func planOf(order string) plan {
	switch order {
	case "ijk", "jik":
		return plan{nest: dotNest, loops: [3]int{0, 1, 2}, swapped: order == "jik", layoutA: rowLayout, layoutB: columnLayout}
	case "ikj", "jki":
		return plan{nest: sumNest, loops: [3]int{0, 2, 1}, swapped: order == "jki", layoutA: rowLayout, layoutB: rowLayout}
	default:
		return plan{nest: outerNest, loops: [3]int{2, 0, 1}, swapped: order == "kji", layoutA: columnLayout, layoutB: rowLayout}
	}
}
