package journal

import (
	"fmt"
	"iter"
)

// BootID names a run of the machine's kernel. The zero value is that of one that
// does not tell: it may have been restarted each time.
type BootID [16]byte

// ring is a journal as an image of its file. It knows no file and no policy: what
// it writes is in the image at once, in the order in which it is written.
type ring struct {
	super
	slot
	image []byte
	data  []byte // image without the header
	head  uint64 // end of the list
	limit uint64 // length of the list
	count int    // records in the list
}

// format returns the header of an empty journal. Its ring is zeros.
func format(s super) []byte {
	header := make([]byte, headerSize)
	s.encode(header)
	first := slot{since: 1, clean: true}
	first.encode(header[slotAt:], s.seed)
	return header
}

func newRing(image []byte, s super) *ring {
	return &ring{super: s, image: image, data: image[headerSize:], limit: s.size / 2}
}

// largest is how long a record may be.
func (r *ring) largest() int { return int(r.size/8) - recordHeader }

// write stores a slot in place of the older of the two.
func (r *ring) write(s slot) {
	s.number = r.number + 1
	s.encode(r.image[slotAt+slotAt*(s.number%2):], r.seed)
	r.slot = s
}

// begin starts a life, at the end of the list that the last one has left.
func (r *ring) begin(boot BootID, policy Policy) {
	s := r.slot
	s.life++
	s.boot, s.policy, s.clean, s.failed = boot, policy, false, false
	r.written(r.head)
	r.write(s)
}

// end marks the life as ended. The disk must have the list.
func (r *ring) end() {
	s := r.slot
	s.clean = true
	r.write(s)
}

// fail marks the life as one in which the disk has failed.
func (r *ring) fail() {
	s := r.slot
	s.failed = true
	r.write(s)
}

// written marks that the list is whole up to pos: one store, behind those of what
// it speaks of.
func (r *ring) written(pos uint64) { le.PutUint64(r.image[writtenAt:], pos) }

// synced marks that the disk has the list up to pos.
func (r *ring) synced(pos uint64) { le.PutUint64(r.image[syncedAt:], pos) }

func (r *ring) room() uint64 { return r.limit - (r.head - r.start) }

// append makes the list longer by a record, which is in several parts.
func (r *ring) append(parts [][]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > r.largest() {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, r.largest())
	}
	if space(n) > r.room() {
		return ErrFull
	}
	r.put(r.head, n, 0, parts)
	r.head += space(n)
	r.count++
	r.written(r.head)
	return nil
}

// put stores a record of n bytes at a position.
func (r *ring) put(pos uint64, n int, body uint32, parts [][]byte) {
	at := int(pos % r.size)
	h := r.data[at : at+recordHeader]
	le.PutUint32(h[4:], body|uint32(n))
	le.PutUint32(h[8:], r.life)
	le.PutUint32(h[12:], uint32(pos/16))
	to := at + recordHeader
	for _, p := range parts {
		if to >= len(r.data) {
			to -= len(r.data)
		}
		m := copy(r.data[to:], p)
		copy(r.data, p[m:])
		to += len(p)
	}
	le.PutUint32(h, r.sum(at, n))
}

// sum is the checksum of the record of n bytes in the given place.
func (r *ring) sum(at, n int) uint32 {
	end := at + recordHeader + n
	if end <= len(r.data) {
		return sumOf(r.data[at+4:end], r.seed)
	}
	return sumOf(r.data[:end-len(r.data)], sumOf(r.data[at+4:], r.seed))
}

// stage writes another list behind the one there is, which stays the true one
// until commit is called with what stage has returned.
func (r *ring) stage(records iter.Seq[[]byte]) (end uint64, count int, err error) {
	end = r.head
	for p := range records {
		if len(p) > r.largest() {
			return 0, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(p), r.largest())
		}
		if end-r.head+space(len(p)) > r.limit {
			return 0, 0, ErrFull
		}
		r.put(end, len(p), bodyBit, [][]byte{p})
		end += space(len(p))
		count++
	}
	return end, count, nil
}

// commit makes the list that was staged the true one.
func (r *ring) commit(end uint64, count int) {
	s := r.slot
	s.start, s.body, s.since = r.head, end, s.life
	r.write(s)
	r.head, r.count = end, count
	r.written(end)
}
