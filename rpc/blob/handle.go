package blob

import (
	"encoding/binary"
	"fmt"
)

// Domain is the identity of a table: random, another one for each life of its process.
type Domain [16]byte

// Token proves that the table has made a handle.
type Token [16]byte

// Rights are what a handle lets its holder do.
type Rights uint8

// The rights of a handle.
const (
	Read  Rights = 1 << iota // look at the bytes
	Write                    // change them
	Pay                      // have results made at the cost of a party: of an account, no blob
)

// HandleLen is the length of an encoded handle, bytes.
const HandleLen = 64

const (
	handleVersion = 1
	signedLen     = HandleLen - len(Token{})
)

// Handle names a range of a blob, or the account of a party. It is plain data, which
// programs may pass on as they like; whoever has it may do what its rights say.
type Handle struct {
	Domain     Domain
	ID         uint64 // of the blob, used again; of an account: the party
	Generation uint32 // which of the blobs that have had the id
	Rights     Rights
	Offset     uint64 // of the range in the blob, bytes
	Length     uint64 // of the range, bytes
	Token      Token
}

// String names what the handle is of. It leaves out the token, so that logs are no keys.
func (h Handle) String() string {
	if h.Rights == Pay {
		return fmt.Sprintf("account of party %d", h.ID)
	}
	return fmt.Sprintf("blob %d.%d[%d:%d]", h.ID, h.Generation, h.Offset, h.Offset+h.Length)
}

// Append appends the handle's HandleLen bytes.
func (h Handle) Append(dst []byte) []byte {
	return append(h.appendSigned(dst), h.Token[:]...)
}

func (h Handle) appendSigned(dst []byte) []byte {
	dst = append(dst, h.Domain[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.ID)
	dst = binary.LittleEndian.AppendUint32(dst, h.Generation)
	dst = append(dst, byte(h.Rights), handleVersion, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, h.Offset)
	return binary.LittleEndian.AppendUint64(dst, h.Length)
}

// ParseHandle decodes what Append has encoded. What it returns is well-formed;
// whether it is true only the table can tell. It fails with [ErrMalformed].
func ParseHandle(b []byte) (Handle, error) {
	if len(b) != HandleLen {
		return Handle{}, fmt.Errorf("%w: handle of %d bytes", ErrMalformed, len(b))
	}
	h := Handle{
		Domain: Domain(b), ID: binary.LittleEndian.Uint64(b[16:]),
		Generation: binary.LittleEndian.Uint32(b[24:]), Rights: Rights(b[28]),
		Offset: binary.LittleEndian.Uint64(b[32:]), Length: binary.LittleEndian.Uint64(b[40:]),
		Token: Token(b[signedLen:]),
	}
	switch {
	case b[29] != handleVersion:
		return Handle{}, fmt.Errorf("%w: handle of version %d", ErrMalformed, b[29])
	case b[30] != 0 || b[31] != 0:
		return Handle{}, fmt.Errorf("%w: reserved bytes of a handle are not zero", ErrMalformed)
	case h.Rights == 0 || h.Rights > Pay:
		return Handle{}, fmt.Errorf("%w: handle with the rights %#x", ErrMalformed, byte(h.Rights))
	case h.Offset+h.Length < h.Offset:
		return Handle{}, fmt.Errorf("%w: range of a handle wraps", ErrMalformed)
	}
	return h, nil
}

// narrow is the handle of a part of h's range, with some of h's rights, not signed yet.
func (h Handle) narrow(offset, length uint64, rights Rights) (Handle, error) {
	if offset > h.Length || length > h.Length-offset {
		return Handle{}, fmt.Errorf("%w: %d bytes at %d of %v", ErrRange, length, offset, h)
	}
	if rights == 0 || rights&^h.Rights != 0 {
		return Handle{}, fmt.Errorf("%w: %v does not have %#x", ErrRights, h, byte(rights))
	}
	h.Offset, h.Length, h.Rights = h.Offset+offset, length, rights
	return h, nil
}
