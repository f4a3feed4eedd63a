package codec

import (
	"encoding/binary"
	"errors"
)

// maxTags is how many tags may be around one value. The library allocates in
// proportion to the square of that.
const maxTags = 8

var (
	errTags = errors.New("too many tags around one value")
	errKey  = errors.New("key of a map is no boolean, integer, text or bytes")
)

// scanner goes through the items of CBOR and knows which of them are keys.
type scanner struct {
	b    []byte
	open []container
	tags int // around the next item
}

// container is an array or a map that is not at its end.
type container struct {
	left  uint64 // items that are to come; of a map, keys and values
	pairs bool
}

// scan refuses what the library lets in or falls over: keys that it cannot
// compare (NaN is not itself, a bignum is a pointer) or hash, and too many tags.
// What is malformed passes: the library finds that before it allocates anything.
func (s *scanner) scan(b []byte) error {
	*s = scanner{b: b, open: s.open[:0]}
	for len(s.b) > 0 {
		more, err := s.item()
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// item goes over one head, and what belongs to it but other items.
func (s *scanner) item() (more bool, err error) {
	first := s.b[0]
	arg, head := argument(s.b)
	if head == 0 {
		return false, nil
	}
	s.b = s.b[head:]
	if s.tags == 0 && s.isKey() && !canBeCompared(first) {
		return false, errKey
	}
	switch first >> 5 {
	case 2, 3: // bytes and text
		if arg > uint64(len(s.b)) {
			return false, nil
		}
		s.b = s.b[arg:]
	case 4, 5: // array and map
		return s.enter(arg, first>>5 == 5), nil
	case 6:
		s.tags++
		if s.tags > maxTags {
			return false, errTags
		}
		return true, nil
	}
	return s.done(), nil
}

func (s *scanner) isKey() bool {
	if len(s.open) == 0 {
		return false
	}
	c := s.open[len(s.open)-1]
	return c.pairs && c.left%2 == 0
}

// canBeCompared says whether an item that begins with a byte can be a key.
func canBeCompared(first byte) bool {
	const no, yes = 0xf4, 0xf5
	return first>>5 < 4 || first == no || first == yes
}

// enter begins an array or a map. more is false if the library will refuse it.
func (s *scanner) enter(n uint64, pairs bool) (more bool) {
	if n > uint64(len(s.b)) || len(s.open) > maxLevels {
		return false
	}
	s.tags = 0
	if n == 0 {
		return s.done()
	}
	if pairs {
		n *= 2
	}
	s.open = append(s.open, container{n, pairs})
	return true
}

// done ends an item, and each container that it was the last of. more is false
// if it was the whole.
func (s *scanner) done() (more bool) {
	s.tags = 0
	for len(s.open) > 0 {
		c := &s.open[len(s.open)-1]
		if c.left--; c.left > 0 {
			return true
		}
		s.open = s.open[:len(s.open)-1]
	}
	return false
}

// argument returns the argument of an item's head, and how long the head is; 0
// is malformed.
func argument(b []byte) (arg uint64, head int) {
	info := b[0] & 31
	if info < 24 {
		return uint64(info), 1
	}
	if info > 27 {
		return 0, 0
	}
	n := 1 << (info - 24)
	if len(b) < 1+n {
		return 0, 0
	}
	var buf [8]byte
	copy(buf[8-n:], b[1:1+n])
	return binary.BigEndian.Uint64(buf[:]), 1 + n
}
