package compress

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// checkFrame fails unless body is one zstd frame, from its first byte to its
// last, that says it has n bytes and has blocks enough for them.
func checkFrame(body []byte, n int) error {
	var h zstd.Header
	if err := h.Decode(body); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case h.Skippable || h.DictionaryID != 0:
		return fmt.Errorf("%w: skippable frame or dictionary", ErrCorrupt)
	case !h.HasFCS || h.FrameContentSize != uint64(n):
		return fmt.Errorf("%w: %d bytes, not %d", ErrLength, h.FrameContentSize, n)
	}
	rest, room, err := skipBlocks(body[h.HeaderSize:])
	switch sum := len(rest); {
	case err != nil:
		return err
	case room < n:
		return fmt.Errorf("%w: %d bytes in blocks for at most %d", ErrLength, n, room)
	case h.HasCheckSum && sum != 4, !h.HasCheckSum && sum != 0:
		return fmt.Errorf("%w: %d bytes after the last block", ErrCorrupt, sum)
	}
	return nil
}

const maxBlock = 128 << 10

// skipBlocks returns what is behind the last block of a frame, and how many
// bytes the blocks can become.
func skipBlocks(b []byte) (rest []byte, room int, err error) {
	for last := false; !last; {
		if len(b) < 3 {
			return nil, 0, fmt.Errorf("%w: ends within a block", ErrCorrupt)
		}
		head := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size, plain := head>>3, maxBlock
		switch head >> 1 & 3 {
		case 0: // as it is
			plain = size
		case 1: // one byte, repeated
			size, plain = 1, size
		}
		if len(b) < 3+size || plain > maxBlock {
			return nil, 0, fmt.Errorf("%w: block of %d bytes of %d", ErrCorrupt, size, len(b)-3)
		}
		b, room, last = b[3+size:], room+plain, head&1 == 1
	}
	return b, room, nil
}
