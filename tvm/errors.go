package tvm

import "errors"

// Errors of the tracker's frames and messages.
var (
	// ErrFrameLength: a frame's length is not within 1..[MaxFrame].
	ErrFrameLength = errors.New("frame length out of range")
	// ErrMessage: a payload is not JSON, or not of the shape its code demands.
	ErrMessage = errors.New("malformed message")
	// ErrUnknownCode: a well-formed message has a code that no peer may send.
	ErrUnknownCode = errors.New("unknown tracker code")
	// ErrRefused: the tracker answered with FAIL where a value was expected.
	ErrRefused = errors.New("tracker refused the request")
	// ErrDeviceKey: a device key or match key cannot be used.
	ErrDeviceKey = errors.New("invalid device key")
)

// Errors of the server handshake.
var (
	// ErrBadMagic: the peer does not speak this protocol.
	ErrBadMagic = errors.New("bad magic")
	// ErrHandshakeKeyLength: a key's length is not within 1..[MaxHandshakeKey].
	ErrHandshakeKeyLength = errors.New("handshake key length out of range")
	// ErrNotClient: a key does not start with "client:".
	ErrNotClient = errors.New("handshake key is not a client's")
	// ErrKeyEncoding: a key is not UTF-8.
	ErrKeyEncoding = errors.New("handshake key is not UTF-8")
	// ErrMismatch: the server waits for another match key.
	ErrMismatch = errors.New("no server matches the key")
	// ErrDuplicate: a proxy already has a peer that waits under this key.
	ErrDuplicate = errors.New("a server with this key is already waiting")
	// ErrShortAnswer: more bytes are needed to parse a server's answer.
	ErrShortAnswer = errors.New("server's answer is not complete")
)

// Errors of the session layer.
var (
	// ErrTruncated: a packet ends inside a field, or a length or count points
	// beyond its end.
	ErrTruncated = errors.New("truncated packet")
	// ErrTrailing: a packet goes on after its last field.
	ErrTrailing = errors.New("trailing bytes in packet")
	// ErrRPCCode: a packet's code is unknown.
	ErrRPCCode = errors.New("unknown RPC code")
	// ErrTypeCode: a value's type code is unknown or cannot be sent.
	ErrTypeCode = errors.New("type code cannot be sent")
	// ErrPacket: a packet's contents do not fit its code.
	ErrPacket = errors.New("malformed packet")
	// ErrPacketLength: a packet is longer than the reader allows.
	ErrPacketLength = errors.New("packet too long")
	// ErrFlavour: the flavour of the session layer is not known or does not fit.
	ErrFlavour = errors.New("unknown session flavour")
	// ErrTensor: a tensor's shape, type or size is impossible.
	ErrTensor = errors.New("invalid tensor")
	// ErrDataType: a data type's text cannot be parsed.
	ErrDataType = errors.New("invalid data type")
	// ErrInitRefused: a worker answered kInitServer with an exception.
	ErrInitRefused = errors.New("worker refused the session")
)
