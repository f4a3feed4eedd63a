package matmul

// sum adds to the vector y (step sy) u vectors of z, each multiplied by its
// element of s (step ss). Vector q of z begins at z[q*sq] and steps by sz.
func sum(u int, y []float32, sy int, s []float32, ss int, z []float32, sz, sq, n int) {
	switch u {
	case 1:
		sum1(y, sy, s[0], z, sz, n)
	case 2:
		sum2(y, sy, [2]float32{s[0], s[ss]}, z, sz, sq, n)
	case 4:
		sum4(y, sy, [4]float32{s[0], s[ss], s[2*ss], s[3*ss]}, z, sz, sq, n)
	default:
		sum8(y, sy, [8]float32{s[0], s[ss], s[2*ss], s[3*ss], s[4*ss], s[5*ss], s[6*ss], s[7*ss]}, z, sz, sq, n)
	}
}

func sum1(y []float32, sy int, s float32, z []float32, sz, n int) {
	if sy == 1 && sz == 1 {
		y, z := y[:n], z[:n]
		for i := range y {
			y[i] += s * z[i]
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		y[i] += s * z[j]
		i += sy
		j += sz
	}
}

func sum2(y []float32, sy int, s [2]float32, z []float32, sz, sq, n int) {
	s0, s1 := s[0], s[1]
	z0, z1 := z, z[sq:]
	if sy == 1 && sz == 1 {
		y, z0, z1 := y[:n], z0[:n], z1[:n]
		for i := range y {
			y[i] += s0*z0[i] + s1*z1[i]
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		y[i] += s0*z0[j] + s1*z1[j]
		i += sy
		j += sz
	}
}

func sum4(y []float32, sy int, s [4]float32, z []float32, sz, sq, n int) {
	s0, s1, s2, s3 := s[0], s[1], s[2], s[3]
	z0, z1, z2, z3 := z, z[sq:], z[2*sq:], z[3*sq:]
	if sy == 1 && sz == 1 {
		y, z0, z1, z2, z3 := y[:n], z0[:n], z1[:n], z2[:n], z3[:n]
		for i := range y {
			y[i] += (s0*z0[i] + s1*z1[i]) + (s2*z2[i] + s3*z3[i])
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		y[i] += (s0*z0[j] + s1*z1[j]) + (s2*z2[j] + s3*z3[j])
		i += sy
		j += sz
	}
}

func sum8(y []float32, sy int, s [8]float32, z []float32, sz, sq, n int) {
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	z0, z1, z2, z3 := z, z[sq:], z[2*sq:], z[3*sq:]
	z4, z5, z6, z7 := z[4*sq:], z[5*sq:], z[6*sq:], z[7*sq:]
	if sy == 1 && sz == 1 {
		y := y[:n]
		z0, z1, z2, z3, z4, z5, z6, z7 := z0[:n], z1[:n], z2[:n], z3[:n], z4[:n], z5[:n], z6[:n], z7[:n]
		for i := range y {
			y[i] += ((s0*z0[i] + s1*z1[i]) + (s2*z2[i] + s3*z3[i])) + ((s4*z4[i] + s5*z5[i]) + (s6*z6[i] + s7*z7[i]))
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		y[i] += ((s0*z0[j] + s1*z1[j]) + (s2*z2[j] + s3*z3[j])) + ((s4*z4[j] + s5*z5[j]) + (s6*z6[j] + s7*z7[j]))
		i += sy
		j += sz
	}
}
