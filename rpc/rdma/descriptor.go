package rdma

import "encoding/binary"

// MostInline is how many bytes go within a descriptor.
const MostInline = 4 << 10

// MostDescriptor is the length of an encoded descriptor at most, bytes.
const MostDescriptor = descriptorHead + MostInline

const (
	descriptorHead   = 16
	descriptorRemote = descriptorHead + len(AdapterID{}) + 8
	descriptorFormat = 1
)

// AdapterID is the identity of an adapter: random, another one for each.
type AdapterID [16]byte

// Descriptor says where bytes are; or has them, if they are few. It is a key: who has
// it may read them by a queue pair of the same adapter.
type Descriptor struct {
	Length  uint64
	Inline  []byte // the bytes, if Adapter is zero
	Adapter AdapterID
	Address uint64
	Key     uint32
}

// Append appends the encoded descriptor.
//
//	format 1 │ 0 inline, 1 remote │ 0 0 │ key u32 │ length u64 │ adapter 16, address u64 │ bytes
//	                                                              remote only              inline only
func (d Descriptor) Append(dst []byte) []byte {
	var kind byte
	if d.remote() {
		kind = 1
	}
	dst = append(dst, descriptorFormat, kind, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, d.Key)
	dst = binary.LittleEndian.AppendUint64(dst, d.Length)
	if !d.remote() {
		return append(dst, d.Inline...)
	}
	dst = append(dst, d.Adapter[:]...)
	return binary.LittleEndian.AppendUint64(dst, d.Address)
}

func (d Descriptor) remote() bool { return d.Adapter != AdapterID{} }

// ParseDescriptor decodes what Append has encoded, which is all of b; inline bytes stay
// where they are. It fails with [Malformed].
func ParseDescriptor(b []byte) (Descriptor, error) {
	if len(b) < descriptorHead || len(b) > MostDescriptor {
		return Descriptor{}, failure(Malformed, "descriptor of %d bytes", len(b))
	}
	if b[0] != descriptorFormat || b[1] > 1 || b[2]|b[3] != 0 {
		return Descriptor{}, failure(Malformed, "descriptor begins with %x", b[:4])
	}
	d := Descriptor{Key: binary.LittleEndian.Uint32(b[4:]), Length: binary.LittleEndian.Uint64(b[8:])}
	if b[1] == 0 {
		d.Inline = b[descriptorHead:]
		if uint64(len(d.Inline)) != d.Length || d.Key != 0 {
			return Descriptor{}, failure(Malformed, "descriptor of %d bytes has %d", d.Length, len(d.Inline))
		}
		return d, nil
	}
	if len(b) != descriptorRemote {
		return Descriptor{}, failure(Malformed, "descriptor of %d bytes", len(b))
	}
	d.Adapter, d.Address = AdapterID(b[descriptorHead:]), binary.LittleEndian.Uint64(b[descriptorRemote-8:])
	if !d.remote() || d.Length == 0 || d.Address+d.Length < d.Address {
		return Descriptor{}, failure(Malformed, "%d bytes at %#x are no range", d.Length, d.Address)
	}
	return d, nil
}
