package matmul

// view is a matrix that lies in data with any strides: element (r, c) is
// data[r*rs+c*cs]. Transposing one is a swap of two integers.
type view struct {
	data   []float32
	rs, cs int
}

// rowMajor is the view of a dense matrix with n columns.
func rowMajor(data []float32, n int) view { return view{data: data, rs: n, cs: 1} }

func (v view) transpose() view { return view{data: v.data, rs: v.cs, cs: v.rs} }

// from is the part of v that begins at (r, c).
func (v view) from(r, c int) view {
	return view{data: v.data[r*v.rs+c*v.cs:], rs: v.rs, cs: v.cs}
}
