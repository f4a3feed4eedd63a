package frame

import "bytes"

// Magic is the first thing on a native connection, from both sides.
const Magic = "\xf7rpcpool"

// Protocol is what a peer speaks.
type Protocol uint8

// Protocols that share a port.
const (
	ProtocolUnknown Protocol = iota
	ProtocolNative           // starts with Magic
	ProtocolTVM              // starts with a TVM client's magic
	ProtocolHTTP2            // starts with the preface of HTTP/2: gRPC
	ProtocolTLS              // starts with a handshake record
)

// SniffLen is the most that [Sniff] must see to be sure, in bytes.
const SniffLen = 8

var openings = [...]struct {
	start    string
	protocol Protocol
}{
	{Magic, ProtocolNative},
	{"\x71\xf2\x0f\x00", ProtocolTVM},
	{"PRI * HT", ProtocolHTTP2},
	{"\x16\x03", ProtocolTLS},
}

// Sniff tells by its first bytes what a client speaks. It needs more if they are
// the beginning of something, but not enough of it.
func Sniff(first []byte) (p Protocol, more bool) {
	for _, o := range openings {
		if bytes.HasPrefix(first, []byte(o.start)) {
			return o.protocol, false
		}
		if bytes.HasPrefix([]byte(o.start), first) {
			more = true
		}
	}
	return ProtocolUnknown, more
}

// CheckMagic fails unless b, as far as it goes, is [Magic].
func CheckMagic(b []byte) error {
	if !bytes.HasPrefix([]byte(Magic), b) {
		return errf(ReasonProtocol, "first bytes are % x, which is not a native peer", b)
	}
	return nil
}
