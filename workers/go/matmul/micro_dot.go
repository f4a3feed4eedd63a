package matmul

// The micro-kernels are written out by hand because the compiler neither
// unrolls loops nor keeps arrays in registers. Each has two loops: one for
// dense vectors, whose bounds are checked once, and one for any stride.

// dot adds to u elements of y the dot products of x with u vectors of z.
// Vector q of z begins at z[q*sq] and steps by sz; x steps by sx, y by sy.
func dot(u int, y []float32, sy int, x []float32, sx int, z []float32, sz, sq, n int) {
	switch u {
	case 1:
		dot1(y, x, sx, z, sz, n)
	case 2:
		dot2(y, sy, x, sx, z, sz, sq, n)
	case 4:
		dot4(y, sy, x, sx, z, sz, sq, n)
	default:
		dot8(y, sy, x, sx, z, sz, sq, n)
	}
}

func dot1(y, x []float32, sx int, z []float32, sz, n int) {
	var s float32
	if sx == 1 && sz == 1 {
		z := z[:n]
		for i, v := range x[:n] {
			s += v * z[i]
		}
	} else {
		for i, j := 0, 0; n > 0; n-- {
			s += x[i] * z[j]
			i += sx
			j += sz
		}
	}
	y[0] += s
}

func dot2(y []float32, sy int, x []float32, sx int, z []float32, sz, sq, n int) {
	var s0, s1 float32
	z0, z1 := z, z[sq:]
	if sx == 1 && sz == 1 {
		z0, z1 = z0[:n], z1[:n]
		for i, v := range x[:n] {
			s0 += v * z0[i]
			s1 += v * z1[i]
		}
	} else {
		for i, j := 0, 0; n > 0; n-- {
			v := x[i]
			s0 += v * z0[j]
			s1 += v * z1[j]
			i += sx
			j += sz
		}
	}
	y[0] += s0
	y[sy] += s1
}

func dot4(y []float32, sy int, x []float32, sx int, z []float32, sz, sq, n int) {
	var s0, s1, s2, s3 float32
	z0, z1, z2, z3 := z, z[sq:], z[2*sq:], z[3*sq:]
	if sx == 1 && sz == 1 {
		z0, z1, z2, z3 = z0[:n], z1[:n], z2[:n], z3[:n]
		for i, v := range x[:n] {
			s0 += v * z0[i]
			s1 += v * z1[i]
			s2 += v * z2[i]
			s3 += v * z3[i]
		}
	} else {
		for i, j := 0, 0; n > 0; n-- {
			v := x[i]
			s0 += v * z0[j]
			s1 += v * z1[j]
			s2 += v * z2[j]
			s3 += v * z3[j]
			i += sx
			j += sz
		}
	}
	y[0] += s0
	y[sy] += s1
	y[2*sy] += s2
	y[3*sy] += s3
}

func dot8(y []float32, sy int, x []float32, sx int, z []float32, sz, sq, n int) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	z0, z1, z2, z3 := z, z[sq:], z[2*sq:], z[3*sq:]
	z4, z5, z6, z7 := z[4*sq:], z[5*sq:], z[6*sq:], z[7*sq:]
	if sx == 1 && sz == 1 {
		z0, z1, z2, z3, z4, z5, z6, z7 = z0[:n], z1[:n], z2[:n], z3[:n], z4[:n], z5[:n], z6[:n], z7[:n]
		for i, v := range x[:n] {
			s0 += v * z0[i]
			s1 += v * z1[i]
			s2 += v * z2[i]
			s3 += v * z3[i]
			s4 += v * z4[i]
			s5 += v * z5[i]
			s6 += v * z6[i]
			s7 += v * z7[i]
		}
	} else {
		for i, j := 0, 0; n > 0; n-- {
			v := x[i]
			s0 += v * z0[j]
			s1 += v * z1[j]
			s2 += v * z2[j]
			s3 += v * z3[j]
			s4 += v * z4[j]
			s5 += v * z5[j]
			s6 += v * z6[j]
			s7 += v * z7[j]
			i += sx
			j += sz
		}
	}
	for q, s := range [8]float32{s0, s1, s2, s3, s4, s5, s6, s7} {
		y[q*sy] += s
	}
}
