package rpc

import (
	"bytes"
	"io"
)

// newBuffer is a buffer for what a reader has, as large as that if it says so.
func newBuffer(room []byte, r io.Reader) *bytes.Buffer {
	b := bytes.NewBuffer(room)
	if l, ok := r.(interface{ Len() int }); ok {
		b.Grow(l.Len() + bytes.MinRead) // or ReadFrom would make room for more than there is
	}
	return b
}
