package tvm

import (
	"fmt"
	"strings"
)

// Flavour is how a release of TVM encodes the values of the session layer. All
// flavours claim the same [ProtocolVersion], so nothing in the protocol keeps a
// client from talking to a worker of another flavour, and misreading it.
type Flavour uint8

// All flavours.
const (
	// FlavourAuto: not known yet. It suffices for packets without values.
	FlavourAuto Flavour = iota
	// FlavourA: v0.7 to v0.20. All type codes first, then all values.
	FlavourA
	// FlavourB: v0.21. Type index and value in turn; no string objects.
	FlavourB
	// FlavourC: since v0.22. As B, with string and byte objects, and the indices
	// 69 to 72 renumbered.
	FlavourC
)

// ProtocolVersion is what a client of v0.8 or later says in kInitServer.
const ProtocolVersion = "0.8.0"

// ParseFlavour parses "Auto", "A", "B" or "C" in any case.
func ParseFlavour(s string) (Flavour, error) {
	for f := FlavourAuto; f <= FlavourC; f++ {
		if strings.EqualFold(s, f.String()) {
			return f, nil
		}
	}
	return FlavourAuto, fmt.Errorf("%w %.40q: it is not one of Auto, A, B, C", ErrFlavour, s)
}

// String returns "Auto", "A", "B" or "C".
func (f Flavour) String() string {
	switch f {
	case FlavourAuto:
		return "Auto"
	case FlavourA:
		return "A"
	case FlavourB:
		return "B"
	case FlavourC:
		return "C"
	}
	return fmt.Sprintf("Flavour(%d)", uint8(f))
}

// known fails with [ErrFlavour] if values cannot be encoded in f.
func (f Flavour) known() error {
	if f < FlavourA || f > FlavourC {
		return fmt.Errorf("%w: values need A, B or C, not %s", ErrFlavour, f)
	}
	return nil
}

// Type codes of flavour A.
const (
	codeAInt          int32 = 0
	codeAUInt         int32 = 1
	codeAFloat        int32 = 2
	codeAHandle       int32 = 3
	codeANull         int32 = 4
	codeADataType     int32 = 5
	codeADevice       int32 = 6
	codeATensor       int32 = 7
	codeAObject       int32 = 8
	codeAModule       int32 = 9
	codeAFunc         int32 = 10
	codeAStr          int32 = 11
	codeABytes        int32 = 12
	codeATensorObject int32 = 13
	codeABool         int32 = 15

	// refA follows codeAObject: a reference to an object at the server.
	refA uint32 = 9
)

// Type indices of flavours B and C.
const (
	indexNull     int32 = 0
	indexInt      int32 = 1
	indexBool     int32 = 2
	indexFloat    int32 = 3
	indexHandle   int32 = 4
	indexDataType int32 = 5
	indexDevice   int32 = 6
	indexTensor   int32 = 7
	indexStr      int32 = 8
	indexBytes    int32 = 9
	// A string or byte array short enough to live inside a value (C).
	indexSmallStr   int32 = 11
	indexSmallBytes int32 = 12

	// Objects on the heap, from firstObject on.
	firstObject        int32 = 64
	indexStrObject     int32 = 65
	indexBytesObject   int32 = 66
	indexFunc          int32 = 68
	indexTensorObjectC int32 = 70
	indexTensorObjectB int32 = 72
	indexModule        int32 = 73
	indexObjectRef     int32 = 115
)

// TypeCode returns the type code (flavour A) or type index (B, C) under which a
// kind of value is sent. A kReturn that answers kCallFunc carries it as its
// first value. It is not ok for [FlavourAuto].
//
// Flavour A sends bools as ints: its code for bools is no older than v0.18,
// and every release of A takes an int for a bool.
func (f Flavour) TypeCode(k Kind) (code int32, ok bool) {
	if f.known() != nil || k > KindObject {
		return 0, false
	}
	if f == FlavourA {
		return [...]int32{
			KindNull: codeANull, KindInt: codeAInt, KindBool: codeAInt, KindFloat: codeAFloat,
			KindHandle: codeAHandle, KindDataType: codeADataType, KindDevice: codeADevice, KindTensor: codeATensor,
			KindStr: codeAStr, KindBytes: codeABytes, KindModule: codeAModule, KindFunc: codeAFunc, KindObject: codeAObject,
		}[k], true
	}
	return [...]int32{
		KindNull: indexNull, KindInt: indexInt, KindBool: indexBool, KindFloat: indexFloat,
		KindHandle: indexHandle, KindDataType: indexDataType, KindDevice: indexDevice, KindTensor: indexTensor,
		KindStr: indexStr, KindBytes: indexBytes, KindModule: indexModule, KindFunc: indexFunc, KindObject: indexObjectRef,
	}[k], true
}

// TensorObjectCode returns the type code that a kReturn carries as its first
// value when a function returned a tensor: the second value is the tensor's
// record then, the third the handle to free. It is not ok for [FlavourAuto].
func (f Flavour) TensorObjectCode() (code int32, ok bool) {
	switch f {
	case FlavourA:
		return codeATensorObject, true
	case FlavourB:
		return indexTensorObjectB, true
	case FlavourC:
		return indexTensorObjectC, true
	}
	return 0, false
}
