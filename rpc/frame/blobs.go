package frame

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	// BlobGrantLen is the length of the body of BLOB_GRANT: the handle of an account, as
	// package blob encodes it. It may be followed by the least length of a result that is
	// wanted in a blob, 8 bytes. From a server, where both peers have [FeatureBlobReuse], it is the
	// handle of an argument that its owner may use again.
	BlobGrantLen = 64

	blobOfferFixed = 16 + 16 + 8
	maxBlobSocket  = 108 // sun_path
)

// BlobOffer is the body of BLOB_OFFER: the server's first words on a connection whose
// peers have [FeatureBlobs].
type BlobOffer struct {
	Domain [16]byte // of the server's blobs: another one for each life of them
	Ticket [16]byte // by which this client is let in as long as the connection lasts; a secret
	Least  uint64   // from which length on arguments and results had better be in blobs, bytes
	Socket string   // Unix socket of the host of blobs, @NAME is an abstract one; empty: none. At most 108 bytes
}

// Append appends the body.
func (o *BlobOffer) Append(dst []byte) []byte {
	dst = append(append(dst, o.Domain[:]...), o.Ticket[:]...)
	return append(binary.LittleEndian.AppendUint64(dst, o.Least), o.Socket...)
}

// ParseBlobGrant returns the handle in the body of BLOB_GRANT, and from which length on results
// are wanted in blobs, bytes.
func ParseBlobGrant(body []byte) (handle []byte, least uint64, err error) {
	switch len(body) {
	case BlobGrantLen:
		return body, 0, nil
	case BlobGrantLen + 8:
		return body[:BlobGrantLen], binary.LittleEndian.Uint64(body[BlobGrantLen:]), nil
	}
	return nil, 0, errf(ReasonProtocol, "BLOB_GRANT has a body of %d bytes, want %d or %d", len(body), BlobGrantLen, BlobGrantLen+8)
}

// ParseBlobOffer parses the body of BLOB_OFFER.
func ParseBlobOffer(body []byte) (BlobOffer, error) {
	if len(body) < blobOfferFixed || len(body) > blobOfferFixed+maxBlobSocket || !utf8.Valid(body[blobOfferFixed:]) {
		return BlobOffer{}, errf(ReasonProtocol, "BLOB_OFFER has a body of %d bytes that is cut off, too long or not UTF-8", len(body))
	}
	return BlobOffer{
		Domain: [16]byte(body), Ticket: [16]byte(body[16:]), Least: binary.LittleEndian.Uint64(body[32:]), Socket: string(body[blobOfferFixed:]),
	}, nil
}
