package blob

import (
	"fmt"
	"io"
)

// Bytes are those of a blob that is in this process's memory.
type Bytes []byte

var (
	_ io.ReaderAt = Bytes(nil)
	_ io.WriterAt = Bytes(nil)
)

// ReadAt implements [io.ReaderAt]. It fails with [ErrRange] beyond the end.
func (have Bytes) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(have)) {
		return 0, fmt.Errorf("%w: read at %d of %d bytes", ErrRange, at, len(have))
	}
	n := copy(b, have[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [io.WriterAt]. It fails with [ErrRange] if not all of b has room.
func (have Bytes) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(have)) || len(b) > len(have)-int(at) {
		return 0, fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, len(b), at, len(have))
	}
	return copy(have[at:], b), nil
}
