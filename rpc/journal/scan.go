package journal

import "fmt"

// load reads an image that the last life has left, and changes nothing in it. boot
// is the machine's present run.
func load(image []byte, boot BootID) (*ring, error) {
	s, err := parseSuper(image, int64(len(image)))
	if err != nil {
		return nil, err
	}
	r := newRing(image, s)
	if err := r.choose(); err != nil {
		return nil, err
	}
	sure, err := r.sure(boot)
	if err != nil {
		return nil, err
	}
	return r, r.scan(sure)
}

// choose takes the slot that is true.
func (r *ring) choose() error {
	found := false
	for i := range uint64(2) {
		s, ok := parseSlot(r.image[slotAt+slotAt*i:], r.seed)
		if ok && (!found || s.number > r.number) {
			r.slot, found = s, true
		}
	}
	switch {
	case !found:
		return fmt.Errorf("%w: neither of its slots is whole", ErrCorrupt)
	case r.policy > Each:
		return fmt.Errorf("%w: its last life had %v", ErrCorrupt, r.policy)
	case r.since == 0 || r.since > max(r.life, 1) || r.start%16 != 0 || r.body%16 != 0 || r.body < r.start || r.body-r.start > r.limit:
		return fmt.Errorf("%w: its list cannot start with [%d, %d) of life %d", ErrCorrupt, r.start, r.body, r.since)
	}
	return nil
}

// sure returns up to where the list must be whole. While the machine runs, nothing
// is lost that was written; after it has died, nothing that was synced.
func (r *ring) sure(boot BootID) (uint64, error) {
	mark := writtenAt
	switch {
	case r.clean:
	case r.failed:
		return 0, fmt.Errorf("%w: the disk failed to take them", ErrLost)
	case r.boot == boot && boot != BootID{}:
	case r.policy == Process:
		return 0, fmt.Errorf("%w: the machine was restarted, and the journal had not been closed", ErrLost)
	default:
		mark = syncedAt
	}
	return max(le.Uint64(r.image[mark:]), r.body), nil
}

// scan finds the end of the list.
func (r *ring) scan(sure uint64) error {
	r.head, r.count = r.start, 0
	for life := r.since; ; r.count++ {
		n, of, ok := r.check(r.head, life)
		if !ok {
			break
		}
		r.head += space(n)
		life = of
	}
	if r.head < sure {
		return fmt.Errorf("%w: its list of %d records ends at %d, although it was written up to %d", ErrCorrupt, r.count, r.head, sure)
	}
	return nil
}

// check tells whether there is a record of the list at a position, behind one of
// the given life, how long it is, and of which life.
func (r *ring) check(pos uint64, after uint32) (n int, life uint32, ok bool) {
	if r.limit-(pos-r.start) < recordHeader {
		return 0, 0, false
	}
	at := int(pos % r.size)
	h := r.data[at : at+recordHeader]
	length := le.Uint32(h[4:])
	n, life = int(length&^bodyBit), le.Uint32(h[8:])
	if n > r.largest() || life < after || life > r.life || le.Uint32(h[12:]) != uint32(pos/16) {
		return 0, 0, false
	}
	end := pos + space(n)
	switch body := length&bodyBit != 0; {
	case end-r.start > r.limit,
		body != (pos < r.body),
		body && end > r.body,
		r.sum(at, n) != le.Uint32(h):
		return 0, 0, false
	}
	return n, life, true
}

// read appends the payload of the record at a position of the list to b, and
// returns where the next one is.
func (r *ring) read(pos uint64, b []byte) (_ []byte, next uint64, err error) {
	n, _, ok := r.check(pos, r.since)
	if !ok {
		return b, 0, fmt.Errorf("%w: the record at %d has changed", ErrCorrupt, pos)
	}
	at := int((pos + recordHeader) % r.size)
	first := min(n, len(r.data)-at)
	b = append(b, r.data[at:at+first]...)
	return append(b, r.data[:n-first]...), pos + space(n), nil
}
