package matmul

// blocked runs one configuration on one problem.
type blocked struct {
	plan
	c, a, b    view
	n          int // all matrices are n×n
	tm, tn, tk int
	unroll     int
	pad        *scratchpad // nil: tiles are read where they lie
	// which tiles lie in the scratchpad: first row and column, or -1
	aRow, aCol, bRow, bCol int
	aTile, bTile           view
}

// newBlocked prepares cfg for c = a·b, all n×n and dense. pad may be nil if cfg
// does not pack.
func newBlocked(cfg Config, c, a, b []float32, n int, pad *scratchpad) *blocked {
	r := &blocked{
		plan: planOf(cfg.Order), n: n, unroll: cfg.Unroll,
		c: rowMajor(c, n), a: rowMajor(a, n), b: rowMajor(b, n),
		tm: min(cfg.TileM, n), tn: min(cfg.TileN, n), tk: min(cfg.TileK, n),
	}
	if r.swapped {
		r.c = r.c.transpose()
		r.a, r.b = r.b.transpose(), r.a.transpose()
		r.tm, r.tn = r.tn, r.tm
	}
	if cfg.Pack {
		r.pad = pad
	}
	return r
}

// run computes the product once.
func (r *blocked) run() {
	clear(r.c.data)
	r.aRow, r.aCol, r.bRow, r.bCol = -1, -1, -1, -1
	step := [3]int{r.tm, r.tn, r.tk}
	x, y, z := r.loops[0], r.loops[1], r.loops[2]
	var at [3]int // i, j, k
	for at[x] = 0; at[x] < r.n; at[x] += step[x] {
		for at[y] = 0; at[y] < r.n; at[y] += step[y] {
			for at[z] = 0; at[z] < r.n; at[z] += step[z] {
				r.tile(at[0], at[1], at[2])
			}
		}
	}
}

// tile adds the product of two tiles to the tile of c at (i, j).
func (r *blocked) tile(i, j, k int) {
	m, n, d := min(r.tm, r.n-i), min(r.tn, r.n-j), min(r.tk, r.n-k)
	a, b := r.a.from(i, k), r.b.from(k, j)
	if r.pad != nil {
		a, b = r.packed(a, b, i, j, k, m, n, d)
	}
	r.nest(r.c.from(i, j), a, b, m, n, d, r.unroll)
}

// packed returns the tiles' copies in the scratchpad, a first and b behind it.
// A tile that is there already is not copied again.
func (r *blocked) packed(a, b view, i, j, k, m, n, d int) (view, view) {
	if r.aRow != i || r.aCol != k {
		r.aTile = r.pad.pack(0, a, m, d, r.layoutA)
		r.aRow, r.aCol = i, k
	}
	if r.bRow != k || r.bCol != j {
		r.bTile = r.pad.pack(r.tm*r.tk, b, d, n, r.layoutB)
		r.bRow, r.bCol = k, j
	}
	return r.aTile, r.bTile
}
