package tvm

import (
	"fmt"
	"strconv"
	"strings"
)

// Codes of [DataType], as DLPack numbers them.
const (
	DTypeInt     uint8 = 0
	DTypeUInt    uint8 = 1
	DTypeFloat   uint8 = 2
	DTypeHandle  uint8 = 3
	DTypeBFloat  uint8 = 4
	DTypeComplex uint8 = 5
	// DTypeBool is TVM's bool since v0.22, one byte wide. Before it was an
	// unsigned integer of one bit.
	DTypeBool uint8 = 6
)

// DataType is the type of a tensor's elements.
type DataType struct {
	// Code is one of the DType constants, or a newer one of DLPack's.
	Code uint8
	// Bits is the width of one lane.
	Bits uint8
	// Lanes is the number of lanes of a vector type, else 1.
	Lanes uint16
}

// Size returns the size of one element in bytes, rounded up to whole bytes.
func (d DataType) Size() int {
	return (int(d.Bits)*int(d.Lanes) + 7) / 8
}

// String returns the type as TVM writes it: "float32", "int8x4", "bool",
// "handle". A code that has no name here is written as "custom[7]8".
func (d DataType) String() string {
	switch d {
	case DataType{DTypeUInt, 1, 1}:
		return "bool"
	case DataType{DTypeHandle, 64, 1}:
		return "handle"
	case DataType{DTypeHandle, 0, 0}:
		return "void"
	}
	s := "custom[" + strconv.Itoa(int(d.Code)) + "]"
	if name, ok := dtypeName(d.Code); ok {
		s = name
	}
	s += strconv.Itoa(int(d.Bits))
	if d.Lanes != 1 {
		s += "x" + strconv.Itoa(int(d.Lanes))
	}
	return s
}

func dtypeName(code uint8) (string, bool) {
	names := [...]string{
		DTypeInt: "int", DTypeUInt: "uint", DTypeFloat: "float", DTypeHandle: "handle",
		DTypeBFloat: "bfloat", DTypeComplex: "complex", DTypeBool: "bool",
	}
	if int(code) >= len(names) {
		return "", false
	}
	return names[code], true
}

// ParseDataType parses what [DataType.String] returns. It fails with
// [ErrDataType] and names the text.
func ParseDataType(s string) (DataType, error) {
	switch s {
	case "bool":
		return DataType{DTypeUInt, 1, 1}, nil
	case "handle":
		return DataType{DTypeHandle, 64, 1}, nil
	case "void":
		return DataType{DTypeHandle, 0, 0}, nil
	}
	code, rest, ok := cutCode(s)
	if !ok {
		return DataType{}, fmt.Errorf("%w: %.40q has no known type", ErrDataType, s)
	}
	bits, lanes, vector := strings.Cut(rest, "x")
	if !vector {
		lanes = "1"
	}
	b, okBits := parseUint(bits, 8)
	l, okLanes := parseUint(lanes, 16)
	if !okBits || !okLanes {
		return DataType{}, fmt.Errorf("%w: %.40q is not of the form type, bits, x, lanes", ErrDataType, s)
	}
	return DataType{Code: code, Bits: uint8(b), Lanes: uint16(l)}, nil
}

// cutCode splits a type's text into its code and what follows.
func cutCode(s string) (code uint8, rest string, ok bool) {
	if custom, ok := strings.CutPrefix(s, "custom["); ok {
		number, rest, ok := strings.Cut(custom, "]")
		n, okNumber := parseUint(number, 8)
		return uint8(n), rest, ok && okNumber
	}
	end := strings.IndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' })
	if end < 0 {
		return 0, "", false
	}
	for code := DTypeInt; code <= DTypeBool; code++ {
		if name, _ := dtypeName(code); name == s[:end] {
			return code, s[end:], true
		}
	}
	return 0, "", false
}

// parseUint takes digits only: no sign, no base prefix.
func parseUint(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil
}
