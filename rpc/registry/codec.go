package registry

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Version is the first byte of every message. What is only added to a message does
// not change it: fields have numbers, and unknown ones are skipped.
const Version = 1

// Message is whatever has an encoding.
type Message interface {
	Registration | Ack | Owner | Renewal | Update | Refusal | Request | Outcome
}

// codec is CBOR (RFC 8949) in its deterministic form. It is immutable.
var codec = newCodec()

type modes struct {
	encode cbor.EncMode
	decode cbor.DecMode
}

func newCodec() modes {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: MaxNodes,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return modes{encode: enc, decode: dec}
}

// Encode returns a message's bytes.
func Encode[M Message](m *M) ([]byte, error) {
	b, err := codec.encode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", *m, err)
	}
	return append([]byte{Version}, b...), nil
}

// Decode returns the message that the bytes are, if it is a sound one.
func Decode[M Message](b []byte) (*M, error) {
	m := new(M)
	if len(b) == 0 || b[0] != Version {
		return nil, fmt.Errorf("%T is not of version %d", *m, Version)
	}
	if err := codec.decode.Unmarshal(b[1:], m); err != nil {
		return nil, fmt.Errorf("decoding %T: %w", *m, err)
	}
	if err := any(m).(interface{ check() error }).check(); err != nil {
		return nil, fmt.Errorf("decoding %T: %w", *m, err)
	}
	return m, nil
}
