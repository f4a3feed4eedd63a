package accumulator

import (
	"encoding/binary"
	"math"
	"time"
)

// ID names a client: 128 random bits.
type ID [16]byte

// version is the first byte of a batch and of a snapshot.
const version = 1

// Offsets in a batch's header. Numbers of fixed length are little-endian.
const (
	atID      = 1
	atNumber  = 17
	atAge     = 25
	atCount   = 29
	headerLen = 33
)

// header is how a server recognises a batch that it has merged.
type header struct {
	id     ID
	number uint64 // from 1 on
	// age is since when the batch may have been merged: how long before this push
	// the first one began of which that is not excluded.
	age time.Duration
}

// batch is one that a client writes.
type batch struct {
	bytes []byte
	count uint32
}

func newBatch(id ID, number uint64) *batch {
	b := make([]byte, headerLen, 1024)
	b[0] = version
	copy(b[atID:], id[:])
	binary.LittleEndian.PutUint64(b[atNumber:], number)
	return &batch{bytes: b}
}

func (b *batch) number() uint64 { return binary.LittleEndian.Uint64(b.bytes[atNumber:]) }

// add appends an entry, if there is room.
func (b *batch) add(entry []byte) bool {
	if len(b.bytes)+len(entry) > MaxBatch || b.count == MaxEntries {
		return false
	}
	b.bytes = append(b.bytes, entry...)
	b.count++
	binary.LittleEndian.PutUint32(b.bytes[atCount:], b.count)
	return true
}

// aged returns the batch as it is pushed, in memory of its own: an earlier push may
// still be reading.
func (b *batch) aged(age time.Duration) []byte {
	out := append([]byte(nil), b.bytes...)
	ms := min(max(age.Milliseconds(), 0), math.MaxUint32)
	binary.LittleEndian.PutUint32(out[atAge:], uint32(ms))
	return out
}

// entry is an accumulator in a batch. Its labels are checked, not decoded.
type entry struct {
	name, typ string
	labels    []Label
	state     []byte
}

// appendEntry appends what the entry is, without its state.
func appendEntry(dst []byte, name, typ string, labels []Label) []byte {
	dst = appendBytes(appendBytes(dst, name), typ)
	return appendLabels(binary.AppendUvarint(dst, uint64(len(labels))), labels)
}

// entry reads an entry up to its state.
func (r *reader) entry() entry {
	name, typ := r.bytes(MaxName), r.bytes(MaxType)
	if checkText("name", name, MaxName, false) != nil || checkText("type", typ, MaxType, false) != nil {
		r.fail()
	}
	n := r.uvarint()
	if n > MaxLabels {
		r.fail()
		n = 0
	}
	return entry{name: string(name), typ: string(typ), labels: r.labels(int(n))}
}

// parseBatch takes a batch apart. The entries' states point into b.
func parseBatch(b []byte) (header, []entry, error) {
	var h header
	if len(b) > MaxBatch || len(b) < headerLen || b[0] != version {
		return h, nil, malformed("a batch of version %d and %d bytes is not understood", first(b), len(b))
	}
	r := reader{rest: b[atID:]}
	copy(h.id[:], r.fixed(len(h.id)))
	h.number = r.uint64()
	h.age = time.Duration(r.uint32()) * time.Millisecond
	count := r.uint32()
	if count > MaxEntries {
		return h, nil, malformed("a batch has %d entries", count)
	}
	var entries []entry
	for i := uint32(0); i < count && !r.bad; i++ {
		e := r.entry()
		e.state = r.bytes(MaxState)
		entries = append(entries, e)
	}
	if err := r.done(); err != nil {
		return h, nil, err
	}
	if h.number == 0 {
		return h, nil, malformed("a batch has no number")
	}
	return h, entries, nil
}

func first(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}
