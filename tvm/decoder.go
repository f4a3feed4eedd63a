package tvm

import (
	"encoding/binary"
	"fmt"
)

// decoder takes fields off the front of a packet. After its first error every
// further read returns zeros, so that a caller checks err once, at the end, or
// before it uses a count.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// take returns the next n bytes, nil if there are fewer.
func (d *decoder) take(n uint64, what string) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.b)) {
		d.fail(fmt.Errorf("%w: %s needs %d bytes, %d are left", ErrTruncated, what, n, len(d.b)))
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) u32(what string) uint32 {
	if b := d.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) i32(what string) int32 { return int32(d.u32(what)) }

func (d *decoder) u64(what string) uint64 {
	if b := d.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// blob reads a u64 length and as many bytes, which alias the packet.
func (d *decoder) blob(what string) []byte {
	return d.take(d.u64(what), what)
}

// count reads an i32 and checks it against the bytes that are left, of which
// each counted thing needs at least size: only then may a caller allocate.
func (d *decoder) count(what string, size, limit int) int {
	n := d.i32(what)
	switch {
	case d.err != nil:
		return 0
	case n < 0 || int64(n) > int64(limit):
		d.fail(fmt.Errorf("%w: %s %d is not within 0..%d", ErrPacket, what, n, limit))
		return 0
	case int64(n)*int64(size) > int64(len(d.b)):
		d.fail(fmt.Errorf("%w: %s %d needs %d bytes, %d are left", ErrTruncated, what, n, int64(n)*int64(size), len(d.b)))
		return 0
	}
	return int(n)
}

func (d *decoder) device() Device {
	return Device{Type: d.i32("device type"), ID: d.i32("device id")}
}

func (d *decoder) dtype() DataType {
	b := d.take(4, "data type")
	if b == nil {
		return DataType{}
	}
	return DataType{Code: b[0], Bits: b[1], Lanes: binary.LittleEndian.Uint16(b[2:])}
}

// tensor reads a tensor record.
func (d *decoder) tensor() Tensor {
	t := Tensor{Handle: d.u64("tensor handle"), Device: d.device()}
	// The data type stands between the count and what it counts.
	ndim := d.count("tensor dimensions", 8, maxDims)
	t.DType = d.dtype()
	shape := d.take(uint64(ndim)*8, "tensor shape")
	t.ByteOffset = d.u64("tensor byte offset")
	if d.err != nil {
		return Tensor{}
	}
	if ndim > 0 {
		t.Shape = make([]int64, ndim)
		for i := range t.Shape {
			t.Shape[i] = int64(binary.LittleEndian.Uint64(shape[8*i:]))
		}
	}
	return t
}

// end fails if bytes are left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(fmt.Errorf("%w: %d bytes", ErrTrailing, len(d.b)))
	}
	return d.err
}
