package matmul

import (
	"encoding/json"
	"strings"
	"testing"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
)

func TestRegister(t *testing.T) {
	if err := Register(worker.New(tvm.FlavourC)); err != nil {
		t.Fatal(err)
	}
}

func TestFunctionOnItsOwnOperands(t *testing.T) {
	const n = 20
	text, err := runOwn(n, 4, 8, 16, "jki", 2, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Seconds <= 0 || !Same(r.Checksum, Checksum(Reference(n), n)) {
		t.Errorf("%s: %v", text, err)
	}
	for _, n := range []int{-1, 0, MaxN + 1} {
		if _, err := runOwn(n, 1, 1, 1, "ijk", 1, false, 0); err == nil || !strings.Contains(err.Error(), "problem size") {
			t.Errorf("size %d: %v", n, err)
		}
	}
}

func TestFunctionOnTheCallersArrays(t *testing.T) {
	const n = 20
	array := func(d tvm.DataType, shape ...int64) *worker.Tensor {
		a, err := worker.NewTensor(d, shape...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	float := tvm.DataType{Code: tvm.DTypeFloat, Bits: 32, Lanes: 1}
	double := tvm.DataType{Code: tvm.DTypeFloat, Bits: 64, Lanes: 1}
	a, b, c := array(float, n, n), array(float, n, n), array(float, n, n)
	left, right := Inputs(n)
	fill(t, a, left)
	fill(t, b, right)
	if _, err := runArrays(a, b, c, 4, 8, 16, "kij", 8, false, 0); err != nil {
		t.Fatal(err)
	}
	product, err := worker.Elements[float32](c)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range Reference(n) {
		if !Same(float64(product[i]), float64(want)) {
			t.Fatalf("element %d of the caller's array is %g, want %g", i, product[i], want)
		}
	}
	for _, tc := range []struct {
		name    string
		a, b, c *worker.Tensor
		want    string
	}{
		{"result that is no square", a, b, array(float, n, n+1), "[20 21]"},
		{"result that is no matrix", a, b, array(float, n*n), "[400]"},
		{"operand of another type", a, array(double, n, n), c, "operand 1"},
		{"operand of another size", array(float, n, 1), b, c, "20, 400 and 400"},
	} {
		if _, err := runArrays(tc.a, tc.b, tc.c, 1, 1, 1, "ijk", 1, false, 0); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one that names %s", tc.name, err, tc.want)
		}
	}
}

func fill(t *testing.T, a *worker.Tensor, elements []float32) {
	t.Helper()
	to, err := worker.Elements[float32](a)
	if err != nil {
		t.Fatal(err)
	}
	copy(to, elements)
}
