package tvm

import (
	"fmt"
	"math/bits"
	"strconv"
)

// Device is a device of the server, such as {1, 0} for its first CPU.
type Device struct {
	// Type is a DLPack device type.
	Type int32
	// ID is the device's number among those of its type.
	ID int32
}

// DeviceCPU is the DLPack device type of CPUs.
const DeviceCPU int32 = 1

// Tensor describes an array in the server's memory. Only contiguous arrays are
// ever sent.
type Tensor struct {
	// Handle is the server's own reference to the memory.
	Handle uint64
	// Device is where the memory is.
	Device Device
	// DType is the type of one element.
	DType DataType
	// Shape holds the length of each dimension; none for a scalar.
	Shape []int64
	// ByteOffset is where the first element is, counted from Handle, in bytes.
	ByteOffset uint64
}

// NBytes returns the size of the array's elements in bytes. It fails with
// [ErrTensor] if a dimension is negative or the size exceeds 63 bits.
func (t Tensor) NBytes() (uint64, error) {
	// A dimension of 0 makes the array empty however large the others are, but
	// a negative one is wrong even then.
	n, empty := uint64(t.DType.Size()), false
	for i, d := range t.Shape {
		if d < 0 {
			return 0, fmt.Errorf("%w: dimension %d is %d", ErrTensor, i, d)
		}
		empty = empty || d == 0
	}
	if empty {
		return 0, nil
	}
	for _, d := range t.Shape {
		high, low := bits.Mul64(n, uint64(d))
		if high != 0 || low>>63 != 0 {
			return 0, fmt.Errorf("%w: %s of %d dimensions exceeds 63 bits of bytes", ErrTensor, t.DType, len(t.Shape))
		}
		n = low
	}
	return n, nil
}

// Kind says which fields of a [Value] count.
type Kind uint8

// All kinds.
const (
	KindNull     Kind = iota // nothing
	KindInt                  // Int
	KindBool                 // Int, 0 or not
	KindFloat                // Float
	KindHandle               // Handle: an opaque reference
	KindDataType             // DType
	KindDevice               // Device
	KindTensor               // Tensor
	KindStr                  // Data: text
	KindBytes                // Data
	KindModule               // Handle: a module of the server (client to server only)
	KindFunc                 // Handle: a function of the server (client to server only)
	KindObject               // Handle, TypeIndex: a reference to an object of the server
)

// String returns the kind's name, such as "tensor".
func (k Kind) String() string {
	names := [...]string{
		"null", "int", "bool", "float", "handle", "datatype", "device", "tensor", "str", "bytes", "module", "func", "object",
	}
	if int(k) >= len(names) {
		return "Kind(" + strconv.Itoa(int(k)) + ")"
	}
	return names[k]
}

// Value is one value of a packed sequence: an argument or a result. The zero
// Value is null.
type Value struct {
	// Kind says which of the other fields count.
	Kind Kind
	// DType is the value of KindDataType.
	DType DataType
	// TypeIndex is the sender's index for the type of a KindObject. Readers
	// ignore it. Flavour A sends none. Values below 64 are sent as that of a
	// reference.
	TypeIndex int32
	// Device is the value of KindDevice.
	Device Device
	// Int is the value of KindInt and KindBool.
	Int int64
	// Float is the value of KindFloat.
	Float float64
	// Handle is the value of KindHandle, KindModule, KindFunc, KindObject.
	Handle uint64
	// Tensor is the value of KindTensor.
	Tensor *Tensor
	// Data is the value of KindStr and KindBytes. It may alias what it was
	// decoded from.
	Data []byte
}

// Null returns the null value.
func Null() Value { return Value{} }

// Int returns an integer.
func Int(i int64) Value { return Value{Kind: KindInt, Int: i} }

// Bool returns a bool.
func Bool(b bool) Value {
	v := Value{Kind: KindBool}
	if b {
		v.Int = 1
	}
	return v
}

// Float returns a floating-point number.
func Float(f float64) Value { return Value{Kind: KindFloat, Float: f} }

// Str returns text. Stock peers see it only up to its first NUL.
func Str(s string) Value { return Value{Kind: KindStr, Data: []byte(s)} }

// Bytes returns a byte array that aliases b.
func Bytes(b []byte) Value { return Value{Kind: KindBytes, Data: b} }

// Handle returns an opaque reference.
func Handle(h uint64) Value { return Value{Kind: KindHandle, Handle: h} }

// DTypeOf returns a data type as a value.
func DTypeOf(d DataType) Value { return Value{Kind: KindDataType, DType: d} }

// DeviceOf returns a device as a value.
func DeviceOf(d Device) Value { return Value{Kind: KindDevice, Device: d} }

// TensorOf returns the description of an array as a value.
func TensorOf(t Tensor) Value { return Value{Kind: KindTensor, Tensor: &t} }

// Module returns a reference to a module of the server.
func Module(h uint64) Value { return Value{Kind: KindModule, Handle: h} }

// Func returns a reference to a function of the server.
func Func(h uint64) Value { return Value{Kind: KindFunc, Handle: h} }

// Object returns a reference to an object of the server.
func Object(typeIndex int32, h uint64) Value {
	return Value{Kind: KindObject, TypeIndex: typeIndex, Handle: h}
}
