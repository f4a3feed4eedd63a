package worker

import (
	"fmt"
	"unsafe"

	"rpcpool.dev/tvm"
)

// alignment of array memory in bytes; TVM's own, enough for any vector unit.
const alignment = 64

// Tensor is a dense, row-major array in the worker's memory. A function that
// takes one sees the client's array itself, not a copy: what it writes the
// client reads. It is valid as long as the function keeps it, even if the
// client frees the array.
type Tensor struct {
	DType tvm.DataType
	Shape []int64
	Data  []byte // the elements, in the machine's byte order

	block *block // where Data lives, if the session handed it out
}

// NewTensor makes an array of zeros, to be returned by a function. The error
// says that the shape or the type has no size that fits.
func NewTensor(dtype tvm.DataType, shape ...int64) (*Tensor, error) {
	t := tvm.Tensor{DType: dtype, Shape: shape}
	n, err := t.NBytes()
	if err != nil {
		return nil, fmt.Errorf("new tensor: %w", err)
	}
	data, err := alloc(n, alignment)
	if err != nil {
		return nil, fmt.Errorf("new tensor: %w", err)
	}
	return &Tensor{DType: dtype, Shape: shape, Data: data}, nil
}

// check says whether the tensor's shape and type describe its data.
func (t *Tensor) check() error {
	n, err := tvm.Tensor{DType: t.DType, Shape: t.Shape}.NBytes()
	if err != nil {
		return err
	}
	if n != uint64(len(t.Data)) {
		return fmt.Errorf("tensor %s%v has %d bytes, want %d", t.DType, t.Shape, len(t.Data), n)
	}
	return nil
}

// Element is a type that an array's elements can be seen as.
type Element interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Elements returns the array's elements as a slice of T that shares the
// array's memory. It is an error if T is not the array's type.
func Elements[T Element](t *Tensor) ([]T, error) {
	var zero T
	want := dataTypeOf(zero)
	if t.DType != want {
		return nil, fmt.Errorf("tensor of %s: its elements are not %T", t.DType, zero)
	}
	size := int(unsafe.Sizeof(zero))
	if len(t.Data) < size {
		return nil, nil
	}
	first := unsafe.Pointer(unsafe.SliceData(t.Data)) //nolint:gosec // viewed in place: the length is checked, the alignment below
	if uintptr(first)%unsafe.Alignof(zero) != 0 {
		return nil, fmt.Errorf("tensor of %s starts at a byte offset that is not a multiple of %d", t.DType, size)
	}
	return unsafe.Slice((*T)(first), len(t.Data)/size), nil //nolint:gosec // as above
}

// dataTypeOf returns the wire's name for the type of v, by its kind and size.
func dataTypeOf[T Element](v T) tvm.DataType {
	bits := uint8(8 * unsafe.Sizeof(v))
	code := tvm.DTypeInt
	half := 0.5
	var none T
	switch {
	case T(half) != none: // only a float keeps a half
		code = tvm.DTypeFloat
	case none-1 > none: // only an unsigned one wraps to above zero
		code = tvm.DTypeUInt
	}
	return tvm.DataType{Code: code, Bits: bits, Lanes: 1}
}
