package tvm

import (
	"encoding/binary"
	"fmt"
)

// FlavourOfInitReply tells a worker's flavour by its answer to a kInitServer
// without arguments: a complete packet with its length. The null that the
// answer holds is the one value that looks different: 4 in A, 0 in B and C,
// which are both reported as C.
//
// It fails with [ErrInitRefused] and the exception's text if the worker did not
// take the session, with [ErrTruncated] or [ErrTrailing] if packet is not
// exactly one packet, and with [ErrFlavour] on any other answer.
func FlavourOfInitReply(packet []byte) (Flavour, error) {
	d := decoder{b: packet}
	n := d.u64("packet length")
	body := d.take(n, "packet")
	if err := d.end(); err != nil {
		return FlavourAuto, fmt.Errorf("answer to kInitServer: %w", err)
	}
	for _, f := range [...]Flavour{FlavourA, FlavourC} {
		p, err := DecodePacket(f, body)
		if err != nil {
			continue
		}
		switch p := p.(type) {
		case Exception:
			return FlavourAuto, fmt.Errorf("%w: %s", ErrInitRefused, p.Text)
		case Return:
			if len(p.Values) == 1 && p.Values[0].Kind == KindNull {
				return f, nil
			}
		}
	}
	return FlavourAuto, fmt.Errorf("%w: answer to kInitServer is %.40x", ErrFlavour, body)
}

// FlavourOfFirstCall tells a client's flavour by the body of its first packet
// that carries a value, which is the kGetGlobalFunc of its first call. B and C
// are both reported as [FlavourC]. It is not ok if the packet is another one, or
// makes no sense in either flavour.
func FlavourOfFirstCall(body []byte) (f Flavour, ok bool) {
	if len(body) < 4 || RPCCode(binary.LittleEndian.Uint32(body)) != RPCGetGlobalFunc {
		return FlavourAuto, false
	}
	// At most one of the two can hold. The only type code they share is 11, a
	// string in A and a small string in C; then C has a second code (65) where
	// A has the low half of the length, and a body that is as long as A's
	// length of 65 says is not as long as C's length says.
	for _, f := range [...]Flavour{FlavourA, FlavourC} {
		p, err := DecodePacket(f, body)
		if err != nil {
			continue
		}
		if call, ok := p.(Syscall); ok && len(call.Args) == 1 && call.Args[0].Kind == KindStr {
			return f, true
		}
	}
	return FlavourAuto, false
}
