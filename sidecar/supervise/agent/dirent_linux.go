package agent

import (
	"bytes"
	"encoding/binary"
)

// dirent is an entry of a directory.
type dirent struct {
	next int64 // offset of the entry after it
	name string
}

// nextDirent takes the first entry off what getdents64 returned.
func nextDirent(b []byte) (e dirent, rest []byte) {
	const nextAt, lengthAt, nameAt = 8, 16, 19
	length := int(binary.NativeEndian.Uint16(b[lengthAt:]))
	name, _, _ := bytes.Cut(b[nameAt:length], []byte{0})
	return dirent{next: int64(binary.NativeEndian.Uint64(b[nextAt:])), name: string(name)}, b[length:]
}
