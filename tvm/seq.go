package tvm

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	// MaxSeq is the largest number of values in a packed sequence. TVM has no
	// bound; the widest functions that it compiles have some hundred arguments.
	MaxSeq = 1 << 16
	// maxDims bounds the dimensions of a tensor. TVM has no bound.
	maxDims = 1 << 16
)

// AppendSeq appends a packed sequence. It fails, with dst unchanged, with
// [ErrTypeCode] on a value that cannot be sent, with [ErrPacket] on more than
// [MaxSeq] values, and with [ErrFlavour] unless f is A, B or C or vs is empty.
func AppendSeq(dst []byte, f Flavour, vs []Value) ([]byte, error) {
	if len(vs) > MaxSeq {
		return dst, fmt.Errorf("%w: %d values, at most %d", ErrPacket, len(vs), MaxSeq)
	}
	out := appendI32(dst, int32(len(vs)))
	if len(vs) == 0 {
		return out, nil
	}
	if err := f.known(); err != nil {
		return dst, err
	}
	for i := range vs {
		if err := vs[i].sendable(); err != nil {
			return dst, fmt.Errorf("value %d: %w", i, err)
		}
	}
	if f == FlavourA {
		for i := range vs {
			out = appendI32(out, wireCode(f, &vs[i]))
		}
		for i := range vs {
			out = appendValue(out, f, &vs[i])
		}
		return out, nil
	}
	for i := range vs {
		out = appendI32(out, wireCode(f, &vs[i]))
		out = appendValue(out, f, &vs[i])
	}
	return out, nil
}

// sendable fails on values that have no form on the wire in any flavour.
func (v *Value) sendable() error {
	switch {
	case v.Kind > KindObject:
		return fmt.Errorf("%w: %s", ErrTypeCode, v.Kind)
	case v.Kind == KindTensor && v.Tensor == nil:
		return fmt.Errorf("%w: value of KindTensor has no tensor", ErrTensor)
	case v.Kind == KindTensor && len(v.Tensor.Shape) > maxDims:
		return fmt.Errorf("%w: %d dimensions, at most %d", ErrTensor, len(v.Tensor.Shape), maxDims)
	}
	return nil
}

// wireCode returns the code that stands before a value. An object's is its own
// type's, so long as that cannot be taken for something else.
func wireCode(f Flavour, v *Value) int32 {
	if v.Kind == KindObject && f != FlavourA && isObjectIndex(f, v.TypeIndex) {
		return v.TypeIndex
	}
	code, _ := f.TypeCode(v.Kind)
	return code
}

// isObjectIndex tells whether a type index of flavour B or C is followed by a
// second index that says how the object is sent.
func isObjectIndex(f Flavour, index int32) bool {
	tensor, _ := f.TensorObjectCode()
	return index >= firstObject && index != indexFunc && index != indexModule && index != tensor
}

func appendValue(dst []byte, f Flavour, v *Value) []byte {
	switch v.Kind {
	case KindInt, KindBool:
		return appendU64(dst, uint64(v.Int))
	case KindFloat:
		return appendU64(dst, math.Float64bits(v.Float))
	case KindHandle, KindModule, KindFunc:
		return appendU64(dst, v.Handle)
	case KindDataType:
		return append(appendDType(dst, v.DType), 0, 0, 0, 0)
	case KindDevice:
		return appendDevice(dst, v.Device)
	case KindTensor:
		return appendTensor(dst, v.Tensor)
	case KindStr, KindBytes:
		return append(appendU64(dst, uint64(len(v.Data))), v.Data...)
	case KindObject:
		ref := uint32(indexObjectRef)
		if f == FlavourA {
			ref = refA
		}
		return appendU64(binary.LittleEndian.AppendUint32(dst, ref), v.Handle)
	}
	return dst // KindNull has no bytes
}

func appendDType(dst []byte, d DataType) []byte {
	return binary.LittleEndian.AppendUint16(append(dst, d.Code, d.Bits), d.Lanes)
}

func appendDevice(dst []byte, d Device) []byte {
	return appendI32(appendI32(dst, d.Type), d.ID)
}

func appendTensor(dst []byte, t *Tensor) []byte {
	dst = appendU64(dst, t.Handle)
	dst = appendDevice(dst, t.Device)
	dst = appendI32(dst, int32(len(t.Shape)))
	dst = appendDType(dst, t.DType)
	for _, d := range t.Shape {
		dst = appendU64(dst, uint64(d))
	}
	return appendU64(dst, t.ByteOffset)
}
