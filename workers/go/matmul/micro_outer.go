package matmul

// outer adds to u vectors of y the vector x (step sx), each time multiplied by
// its element of s (step ss). Vector q of y begins at y[q*sq] and steps by sy.
func outer(u int, y []float32, sy, sq int, s []float32, ss int, x []float32, sx, n int) {
	switch u {
	case 1:
		sum1(y, sy, s[0], x, sx, n)
	case 2:
		outer2(y, sy, sq, [2]float32{s[0], s[ss]}, x, sx, n)
	case 4:
		outer4(y, sy, sq, [4]float32{s[0], s[ss], s[2*ss], s[3*ss]}, x, sx, n)
	default:
		outer8(y, sy, sq, [8]float32{s[0], s[ss], s[2*ss], s[3*ss], s[4*ss], s[5*ss], s[6*ss], s[7*ss]}, x, sx, n)
	}
}

func outer2(y []float32, sy, sq int, s [2]float32, x []float32, sx, n int) {
	s0, s1 := s[0], s[1]
	y0, y1 := y, y[sq:]
	if sy == 1 && sx == 1 {
		y0, y1 := y0[:n], y1[:n]
		for i, v := range x[:n] {
			y0[i] += s0 * v
			y1[i] += s1 * v
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		v := x[j]
		y0[i] += s0 * v
		y1[i] += s1 * v
		i += sy
		j += sx
	}
}

func outer4(y []float32, sy, sq int, s [4]float32, x []float32, sx, n int) {
	s0, s1, s2, s3 := s[0], s[1], s[2], s[3]
	y0, y1, y2, y3 := y, y[sq:], y[2*sq:], y[3*sq:]
	if sy == 1 && sx == 1 {
		y0, y1, y2, y3 := y0[:n], y1[:n], y2[:n], y3[:n]
		for i, v := range x[:n] {
			y0[i] += s0 * v
			y1[i] += s1 * v
			y2[i] += s2 * v
			y3[i] += s3 * v
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		v := x[j]
		y0[i] += s0 * v
		y1[i] += s1 * v
		y2[i] += s2 * v
		y3[i] += s3 * v
		i += sy
		j += sx
	}
}

func outer8(y []float32, sy, sq int, s [8]float32, x []float32, sx, n int) {
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	y0, y1, y2, y3 := y, y[sq:], y[2*sq:], y[3*sq:]
	y4, y5, y6, y7 := y[4*sq:], y[5*sq:], y[6*sq:], y[7*sq:]
	if sy == 1 && sx == 1 {
		y0, y1, y2, y3, y4, y5, y6, y7 := y0[:n], y1[:n], y2[:n], y3[:n], y4[:n], y5[:n], y6[:n], y7[:n]
		for i, v := range x[:n] {
			y0[i] += s0 * v
			y1[i] += s1 * v
			y2[i] += s2 * v
			y3[i] += s3 * v
			y4[i] += s4 * v
			y5[i] += s5 * v
			y6[i] += s6 * v
			y7[i] += s7 * v
		}
		return
	}
	for i, j := 0, 0; n > 0; n-- {
		v := x[j]
		y0[i] += s0 * v
		y1[i] += s1 * v
		y2[i] += s2 * v
		y3[i] += s3 * v
		y4[i] += s4 * v
		y5[i] += s5 * v
		y6[i] += s6 * v
		y7[i] += s7 * v
		i += sy
		j += sx
	}
}
