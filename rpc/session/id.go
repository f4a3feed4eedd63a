package session

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// ID names a session or a dedup domain: 128 random bits.
type ID [16]byte

// String is the identity in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// XID names a call: the same on every resend, on every connection, in logs,
// traces and metrics. Sequence numbers start at 1 and are never used again.
type XID struct {
	Session ID
	Seq     uint64
}

// String is the session in hexadecimal, a slash and the sequence number.
func (x XID) String() string { return x.Session.String() + "/" + strconv.FormatUint(x.Seq, 10) }

// Conn names a connection. Whoever owns the connections numbers them from 1 on
// and never uses a number again, so that a message for one that is gone can be
// thrown away.
type Conn uint64

// Rand returns 64 random bits. Identities and secrets are made of them: outside
// of a simulation they come from crypto/rand.
type Rand func() uint64

func (r Rand) id() ID {
	var id ID
	binary.LittleEndian.PutUint64(id[:8], r())
	binary.LittleEndian.PutUint64(id[8:], r())
	return id
}
