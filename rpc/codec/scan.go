package codec

import (
	"encoding/binary"
	"errors"
)

// maxTags is how many tags may be around one value. The library allocates in
// proportion to the square of that.
const maxTags = 8

var errTags = errors.New("too many tags around one value")

// checkTags fails if too many tags are around one value. What is malformed
// passes: the library finds it before it allocates anything.
func checkTags(b []byte) error {
	run := 0
	for len(b) > 0 {
		major := b[0] >> 5
		arg, head := argument(b)
		if head == 0 || head > len(b) {
			return nil
		}
		b = b[head:]
		run++
		switch major {
		case 2, 3: // bytes and text
			if arg > uint64(len(b)) {
				return nil
			}
			b, run = b[arg:], 0
		case 6:
			if run > maxTags {
				return errTags
			}
		default:
			run = 0
		}
	}
	return nil
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
