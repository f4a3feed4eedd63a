package codec

import (
	"bytes"
	"errors"
	"slices"
)

// blobHead is the head of a [BlobRef] in CBOR, without the string that follows.
var blobHead = []byte{0xda, TagBlob >> 24, TagBlob >> 16 & 0xff, TagBlob >> 8 & 0xff, TagBlob & 0xff} //nolint:gochecknoglobals // a constant

// ErrCut means that CBOR ends in the middle of a value.
var ErrCut = errors.New("cbor codec: cut off")

// ReplaceBlobs puts another reference in the place of each [BlobRef] in CBOR that this package has
// encoded: with returns it, shorter than 24 bytes. It changes data in place, and
// returns what is left of it.
func ReplaceBlobs(data []byte, with func(BlobRef) (BlobRef, error)) ([]byte, error) {
	if !bytes.Contains(data, blobHead) {
		return data, nil
	}
	for at := 0; at < len(data); {
		is := bytes.HasPrefix(data[at:], blobHead)
		if is {
			at += len(blobHead)
		}
		if at == len(data) {
			return nil, ErrCut
		}
		kind := data[at] >> 5
		arg, head := argument(data[at:])
		from := at + head
		switch {
		case head == 0:
			return nil, ErrCut
		case kind != 2 && kind != 3: // what is in an array, a map or a tag, comes next
			at = from
			continue
		case arg > uint64(len(data)-from):
			return nil, ErrCut
		}
		until := from + int(arg)
		if !is || kind != 2 {
			at = until
			continue
		}
		ref, err := with(BlobRef(data[from:until]))
		if err != nil {
			return nil, err
		}
		ref = append(BlobRef{0x40 | byte(len(ref))}, ref...)
		data = slices.Replace(data, at, until, ref...)
		at += len(ref)
	}
	return data, nil
}
