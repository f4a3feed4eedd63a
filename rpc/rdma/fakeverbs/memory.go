package fakeverbs

import (
	"unsafe"

	"rpcpool.dev/rpc/rdma/verbs"
)

type memory struct {
	nic    *NIC
	bytes  []byte
	rights verbs.Rights
	key    uint32
	under  int // READs under way into it
}

// Register implements [verbs.Device].
func (d *device) Register(b []byte, rights verbs.Rights) (verbs.Memory, error) {
	defer d.lock()()
	if err := d.alive(); err != nil {
		return nil, err
	}
	if d.NIC.Register != nil {
		return nil, d.NIC.Register
	}
	d.fabric.serial++
	m := &memory{nic: d.NIC, bytes: b, rights: rights, key: d.fabric.serial<<8 | 0x55}
	d.memories[m] = struct{}{}
	d.granted = append(d.granted, rights)
	return m, nil
}

// Address implements [verbs.Memory].
func (m *memory) Address() uint64 { return address(m.bytes) }

// Key implements [verbs.Memory].
func (m *memory) Key() uint32 { return m.key }

func address(b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) //nolint:gosec // a number for peers, never a pointer again
}

// Close implements [verbs.Memory].
func (m *memory) Close() error {
	f := m.nic.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.under > 0 {
		f.violate("memory of %s is deregistered with %d READs under way", m.nic.name, m.under)
	}
	if m.nic.Release != nil {
		return m.nic.Release
	}
	delete(m.nic.memories, m)
	return nil
}

// at is the part of registered memory that has an address; nil if there is none.
func (m *memory) at(from uint64, n int, right verbs.Rights) []byte {
	if _, registered := m.nic.memories[m]; !registered || m.rights&right == 0 {
		return nil
	}
	offset := from - m.Address()
	if size := uint64(len(m.bytes)); offset > size || uint64(n) > size-offset {
		return nil
	}
	return m.bytes[offset : offset+uint64(n)]
}

// served is what a peer that knows the key may read.
func (n *NIC) served(from uint64, key uint32, size int) []byte {
	for m := range n.memories {
		if m.key == key {
			return m.at(from, size, verbs.Source)
		}
	}
	return nil
}
