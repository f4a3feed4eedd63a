package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	magic   = "RPCPJRNL"
	version = 1

	headerSize = 4096
	superSize  = 48
	slotAt     = 512 // and every 512 bytes: sectors of their own, which tear apart
	slotSize   = 56
	writtenAt  = 1536
	syncedAt   = 1544

	recordHeader = 16
	bodyBit      = 1 << 31

	minSize = 16 << 10
	maxSize = 32 << 30 // positions of records are kept modulo 64 GiB
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// super is what a file says of itself once and for all.
type super struct {
	size uint64 // of the ring
	seed uint32 // of checksums
	id   [16]byte
}

func (s *super) encode(b []byte) {
	copy(b, magic)
	le.PutUint16(b[8:], version)
	le.PutUint16(b[10:], 0)
	le.PutUint64(b[16:], s.size)
	le.PutUint32(b[24:], s.seed)
	le.PutUint32(b[28:], 0)
	copy(b[32:superSize], s.id[:])
	le.PutUint32(b[12:], superSum(b))
}

func superSum(b []byte) uint32 {
	return sumOf(b[16:superSize], sumOf(b[:12], 0))
}

// parseSuper reads what a file of the given length says of itself.
func parseSuper(b []byte, length int64) (super, error) {
	var s super
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return s, ErrForeign
	}
	if v := le.Uint16(b[8:]); v != version {
		return s, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, v, version)
	}
	if le.Uint32(b[12:]) != superSum(b) {
		return s, fmt.Errorf("%w: its first sector has a wrong checksum", ErrCorrupt)
	}
	s.size, s.seed = le.Uint64(b[16:]), le.Uint32(b[24:])
	copy(s.id[:], b[32:])
	if s.size < minSize || s.size > maxSize || s.size%headerSize != 0 {
		return s, fmt.Errorf("%w: a ring cannot have %d bytes", ErrCorrupt, s.size)
	}
	if want := headerSize + int64(s.size); length != want {
		return s, fmt.Errorf("%w: the file has %d bytes, not %d", ErrCorrupt, length, want)
	}
	return s, nil
}

// slot is what changes with a life, and with a compaction.
type slot struct {
	number uint64
	life   uint32
	since  uint32 // life in which the list was started; none of its records is older
	start  uint64 // of the list
	body   uint64 // end of what the last compaction has written
	boot   BootID // of the machine that this life was on
	policy Policy
	clean  bool // the life has ended, and the disk has all of it
	failed bool // the disk did not take what it was given
}

// flags of a slot.
const (
	slotClean = 1 << iota
	slotFailed
)

func (s *slot) encode(b []byte, seed uint32) {
	var flags byte
	if s.clean {
		flags |= slotClean
	}
	if s.failed {
		flags |= slotFailed
	}
	b[4], b[5], b[6], b[7] = flags, byte(s.policy), 0, 0
	le.PutUint64(b[8:], s.number)
	le.PutUint32(b[16:], s.life)
	le.PutUint32(b[20:], s.since)
	le.PutUint64(b[24:], s.start)
	le.PutUint64(b[32:], s.body)
	copy(b[40:slotSize], s.boot[:])
	le.PutUint32(b, sumOf(b[4:slotSize], seed))
}

func parseSlot(b []byte, seed uint32) (s slot, ok bool) {
	if le.Uint32(b) != sumOf(b[4:slotSize], seed) {
		return slot{}, false
	}
	s = slot{
		number: le.Uint64(b[8:]), life: le.Uint32(b[16:]), since: le.Uint32(b[20:]),
		start: le.Uint64(b[24:]), body: le.Uint64(b[32:]),
		policy: Policy(b[5]), clean: b[4]&slotClean != 0, failed: b[4]&slotFailed != 0,
	}
	copy(s.boot[:], b[40:])
	return s, true
}

// sumOf is the checksum of b, continued from another or from a seed.
func sumOf(b []byte, from uint32) uint32 { return crc32.Update(from, castagnoli, b) }

// space is what a record with n bytes of payload takes in the ring.
func space(n int) uint64 { return recordHeader + (uint64(n)+15)&^15 }
