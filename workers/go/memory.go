package worker

import (
	"fmt"
	"unsafe"

	"rpcpool.dev/tvm"
)

// handleStep is the distance between two handles. Clients treat array handles
// as addresses; multiples of this pass for aligned ones.
const handleStep = 128

// Limits bound what one session may make the worker hold.
type Limits struct {
	// Packet is the largest packet that is accepted, in bytes; copies to an
	// array are exempt, for the array bounds them.
	Packet uint64
	// Memory is the largest sum of the sizes of a session's arrays, in bytes.
	Memory uint64
	// Handles is how many functions and arrays a session may hold.
	Handles int
}

// unknownMemory stands in where the machine does not tell its size, in bytes.
const unknownMemory = 1 << 40

// DefaultLimits returns the limits of a new server: packets of 4 GiB, as much
// array memory as the machine has, a million handles.
func DefaultLimits() Limits {
	return Limits{Packet: 4 << 30, Memory: totalMemory(), Handles: 1 << 20}
}

// block is memory that a client knows by handle. The client may free it while
// arrays that a function returned still refer to it, and the other way round;
// it is gone when both are.
type block struct {
	handle uint64
	data   []byte
	owned  bool // by the client, until kDevFreeData
	refs   int  // array objects that refer to it
}

// object is an array that a function returned: the client frees it by its own
// handle.
type object struct{ block *block }

// memory is a session's table of handles.
type memory struct {
	limits  Limits
	entries map[uint64]any // *block, *object or *function
	last    uint64
	used    uint64 // bytes in blocks
	total   uint64 // bytes that were ever in blocks
}

func newMemory(l Limits) memory {
	return memory{limits: l, entries: make(map[uint64]any)}
}

func (m *memory) add(entry any) (uint64, error) {
	if len(m.entries) >= m.limits.Handles {
		return 0, fmt.Errorf("the session holds %d handles already and may hold no more", len(m.entries))
	}
	m.last += handleStep
	m.entries[m.last] = entry
	return m.last, nil
}

// addBlock files data as a new block. The sum of all blocks is limited.
func (m *memory) addBlock(data []byte, owned bool) (*block, error) {
	b := &block{data: data, owned: owned}
	if err := m.reserve(uint64(len(data))); err != nil {
		return nil, err
	}
	handle, err := m.add(b)
	if err != nil {
		return nil, err
	}
	b.handle = handle
	m.used += uint64(len(data))
	m.total += uint64(len(data))
	return b, nil
}

func (m *memory) reserve(n uint64) error {
	if n > m.limits.Memory-m.used {
		return fmt.Errorf("%d bytes of arrays are over the limit: %d of %d are in use", n, m.used, m.limits.Memory)
	}
	return nil
}

// allocate makes a block of n zeroed bytes for the client.
func (m *memory) allocate(n, align uint64) (*block, error) {
	if err := m.reserve(n); err != nil {
		return nil, err
	}
	data, err := alloc(n, align)
	if err != nil {
		return nil, err
	}
	return m.addBlock(data, true)
}

// freeBlock is kDevFreeData.
func (m *memory) freeBlock(handle uint64) error {
	b, ok := m.entries[handle].(*block)
	if !ok || !b.owned {
		return fmt.Errorf("no array has the data handle %#x", handle)
	}
	b.owned = false
	m.collect(b)
	return nil
}

// free is kFreeHandle: functions and array objects.
func (m *memory) free(handle uint64) error {
	switch e := m.entries[handle].(type) {
	case *function:
		delete(m.entries, handle)
	case *object:
		delete(m.entries, handle)
		e.block.refs--
		m.collect(e.block)
	default:
		return fmt.Errorf("no function or array object has the handle %#x", handle)
	}
	return nil
}

func (m *memory) collect(b *block) {
	if b.owned || b.refs > 0 {
		return
	}
	delete(m.entries, b.handle)
	m.used -= uint64(len(b.data))
}

func (m *memory) function(handle uint64) (*function, error) {
	f, ok := m.entries[handle].(*function)
	if !ok {
		return nil, fmt.Errorf("no function has the handle %#x", handle)
	}
	return f, nil
}

// bytes returns n bytes of an array from its byte offset, checked against the
// memory behind its handle.
func (m *memory) bytes(t *tvm.Tensor, n uint64) (*block, []byte, error) {
	if t.Device.Type != tvm.DeviceCPU {
		return nil, nil, errDevice(t.Device)
	}
	if n == 0 && t.Handle == 0 {
		return nil, nil, nil
	}
	b, ok := m.entries[t.Handle].(*block)
	if !ok {
		return nil, nil, fmt.Errorf("no array has the data handle %#x", t.Handle)
	}
	size := uint64(len(b.data))
	if t.ByteOffset > size || n > size-t.ByteOffset {
		return nil, nil, fmt.Errorf("%d bytes at offset %d of array %#x are out of bounds: it has %d bytes",
			n, t.ByteOffset, t.Handle, size)
	}
	end := t.ByteOffset + n
	return b, b.data[t.ByteOffset:end:end], nil
}

// tensor resolves an array argument.
func (m *memory) tensor(t *tvm.Tensor) (*Tensor, error) {
	n, err := t.NBytes()
	if err != nil {
		return nil, err
	}
	b, data, err := m.bytes(t, n)
	if err != nil {
		return nil, err
	}
	return &Tensor{DType: t.DType, Shape: t.Shape, Data: data, block: b}, nil
}

// publish files a returned array and gives it as the client will see it, with
// the handle of the array object. An array that is a client's own, or a part of
// it, keeps the handle of its memory.
func (m *memory) publish(t *Tensor) (tvm.Tensor, uint64, error) {
	if err := t.check(); err != nil {
		return tvm.Tensor{}, 0, err
	}
	b, offset := t.block, uint64(0)
	if inside, at := m.within(b, t.Data); inside {
		offset = at
	} else {
		var err error
		if b, err = m.addBlock(t.Data, false); err != nil {
			return tvm.Tensor{}, 0, err
		}
		t.block = b
	}
	handle, err := m.add(&object{block: b})
	if err != nil {
		m.collect(b)
		return tvm.Tensor{}, 0, err
	}
	b.refs++
	remote := tvm.Tensor{
		Handle: b.handle, Device: tvm.Device{Type: tvm.DeviceCPU}, DType: t.DType, Shape: t.Shape, ByteOffset: offset,
	}
	return remote, handle, nil
}

// within tells whether data are a part of a block that is still in the table,
// and where.
func (m *memory) within(b *block, data []byte) (bool, uint64) {
	if b == nil || len(data) == 0 || len(b.data) == 0 || m.entries[b.handle] != any(b) {
		return false, 0
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(data)))  //nolint:gosec // compared, never dereferenced
	base := uintptr(unsafe.Pointer(unsafe.SliceData(b.data))) //nolint:gosec // compared, never dereferenced
	if first < base || first-base > uintptr(len(b.data)) || uintptr(len(data)) > uintptr(len(b.data))-(first-base) {
		return false, 0
	}
	return true, uint64(first - base)
}

// alloc returns n zeroed bytes that start at a multiple of align, a power of
// two.
func alloc(n, align uint64) ([]byte, error) {
	const most = 1 << 47 // no address space has more
	if n > most {
		return nil, fmt.Errorf("%d bytes cannot be allocated", n)
	}
	data := make([]byte, n+align-1)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(data))) & uintptr(align-1) //nolint:gosec // only its low bits are used
	return data[skip : uint64(skip)+n : uint64(skip)+n], nil
}
