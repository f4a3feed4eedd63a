package tvm

import (
	"fmt"
	"math"
)

// minValue is the least number of bytes that one value takes: its type code.
const minValue = 4

// DecodeSeq decodes a packed sequence at the start of b and returns what
// follows it. No values give nil. The values' Data alias b.
//
// It fails with [ErrTruncated], with [ErrTypeCode], with [ErrPacket] on more
// than [MaxSeq] values, and with [ErrFlavour] unless f is A, B or C or the
// sequence is empty.
func DecodeSeq(f Flavour, b []byte) (vs []Value, rest []byte, err error) {
	d := decoder{b: b}
	vs = d.seq(f)
	if d.err != nil {
		return nil, nil, d.err
	}
	return vs, d.b, nil
}

func (d *decoder) seq(f Flavour) []Value {
	n := d.count("number of values", minValue, MaxSeq)
	if n == 0 {
		return nil
	}
	if err := f.known(); err != nil {
		d.fail(err)
		return nil
	}
	var codes decoder
	if f == FlavourA {
		codes.b = d.take(uint64(n)*4, "type codes")
	}
	vs := make([]Value, n)
	for i := range vs {
		if f == FlavourA {
			d.valueA(codes.i32("type code"), &vs[i])
		} else {
			d.valueBC(f, d.i32("type index"), &vs[i])
		}
		if d.err != nil {
			d.err = fmt.Errorf("value %d of %d: %w", i, n, d.err)
			return nil
		}
	}
	return vs
}

// valueA reads a value of flavour A. What is marshalled the same in all
// flavours is read by plain.
func (d *decoder) valueA(code int32, v *Value) {
	switch code {
	case codeAInt, codeAUInt:
		d.plain(KindInt, v)
	case codeAFloat:
		d.plain(KindFloat, v)
	case codeAHandle:
		d.plain(KindHandle, v)
	case codeANull:
	case codeADataType:
		d.plain(KindDataType, v)
	case codeADevice:
		d.plain(KindDevice, v)
	case codeATensor:
		d.plain(KindTensor, v)
	case codeAObject:
		if ref := d.u32("object"); d.err == nil && ref != refA {
			d.fail(fmt.Errorf("%w: object of type %d is not a reference", ErrTypeCode, ref))
		}
		d.plain(KindObject, v)
	case codeAModule:
		d.plain(KindModule, v)
	case codeAFunc:
		d.plain(KindFunc, v)
	case codeAStr:
		d.plain(KindStr, v)
	case codeABytes:
		d.plain(KindBytes, v)
	case codeABool:
		d.plain(KindBool, v)
	default:
		d.fail(fmt.Errorf("%w: %d of flavour A", ErrTypeCode, code))
	}
}

// valueBC reads a value of flavour B or C.
func (d *decoder) valueBC(f Flavour, index int32, v *Value) {
	switch {
	case d.err != nil:
	case index == indexNull:
	case index >= indexInt && index <= indexBytes:
		kinds := [...]Kind{
			indexInt: KindInt, indexBool: KindBool, indexFloat: KindFloat, indexHandle: KindHandle,
			indexDataType: KindDataType, indexDevice: KindDevice, indexTensor: KindTensor,
			indexStr: KindStr, indexBytes: KindBytes,
		}
		d.plain(kinds[index], v)
	case index == indexFunc:
		d.plain(KindFunc, v)
	case index == indexModule:
		d.plain(KindModule, v)
	case isObjectIndex(f, index), f == FlavourC && (index == indexSmallStr || index == indexSmallBytes):
		d.object(f, index, v)
	default:
		d.fail(fmt.Errorf("%w: %d of flavour %s", ErrTypeCode, index, f))
	}
}

// object reads what follows an object's type index: the index again, or that
// of a reference, and the contents it announces. The first index does not
// matter, as in TVM itself.
func (d *decoder) object(f Flavour, index int32, v *Value) {
	second := int32(d.u32("object"))
	switch {
	case d.err != nil:
	case second == indexObjectRef:
		// Only an index of the heap is kept: see wireCode.
		if index >= firstObject {
			v.TypeIndex = index
		}
		d.plain(KindObject, v)
	case f == FlavourC && second == indexStrObject:
		d.plain(KindStr, v)
	case f == FlavourC && second == indexBytesObject:
		d.plain(KindBytes, v)
	default:
		d.fail(fmt.Errorf("%w: object of type %d, sent as %d, in flavour %s", ErrTypeCode, index, second, f))
	}
}

// plain reads the value of a kind after its type code.
func (d *decoder) plain(k Kind, v *Value) {
	v.Kind = k
	switch k {
	case KindInt, KindBool:
		v.Int = int64(d.u64(k.String()))
	case KindFloat:
		v.Float = math.Float64frombits(d.u64("float"))
	case KindHandle, KindModule, KindFunc, KindObject:
		v.Handle = d.u64(k.String())
	case KindDataType:
		v.DType = d.dtype()
		d.u32("data type's padding")
	case KindDevice:
		v.Device = d.device()
	case KindTensor:
		t := d.tensor()
		v.Tensor = &t
	case KindStr, KindBytes:
		v.Data = d.blob(k.String())
	}
}
