package tvm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// First words of the server handshake. A client starts with [Magic]; a server
// answers with one of the others.
const (
	// Magic starts what a client sends to a server.
	Magic int32 = 0xFF271
	// HandshakeSuccess accepts: the server's key follows, then the session.
	HandshakeSuccess = Magic
	// HandshakeDuplicate refuses: a peer already waits under this key (proxies).
	HandshakeDuplicate int32 = 0xFF272
	// HandshakeMismatch refuses: no server waits for this match key.
	HandshakeMismatch int32 = 0xFF273
)

// MaxHandshakeKey is the longest key, in bytes, that either side accepts.
const MaxHandshakeKey = 4096

// HandshakeHeader is the length in bytes of what stands before a key.
const HandshakeHeader = 8

const (
	clientKeyPrefix = "client:"
	timeoutOption   = "-timeout="
)

// ClientHello is what a client says when it connects to a server.
type ClientHello struct {
	// MatchKey is the ticket that the client shows; without a tracker it is the
	// device key, perhaps empty.
	MatchKey string
	// Timeout is how long the session may last, if HasTimeout.
	Timeout time.Duration
	// HasTimeout is false if the client gave no timeout, or none that is a
	// finite number above 0.
	HasTimeout bool
	// Raw is the whole key as it came.
	Raw string
}

// CheckMagic checks the first word of a handshake. A server that reads it alone
// can close on a stranger at once instead of waiting for bytes that a stranger
// does not send. It fails with [ErrBadMagic].
func CheckMagic(b [4]byte) error {
	if magic := readI32(b[:]); magic != Magic {
		return fmt.Errorf("%w: %#x is not a client's %#x", ErrBadMagic, uint32(magic), Magic)
	}
	return nil
}

// HandshakeLen returns the length in bytes of the key that follows the first 8
// bytes of a handshake. It fails with [ErrBadMagic], upon which a server closes
// without a word, or with [ErrHandshakeKeyLength].
func HandshakeLen(header [8]byte) (n int, err error) {
	if err := CheckMagic([4]byte(header[:4])); err != nil {
		return 0, err
	}
	return handshakeKeyLen(header[4:])
}

func handshakeKeyLen(b []byte) (int, error) {
	n := readI32(b)
	if n < 1 || n > MaxHandshakeKey {
		return 0, fmt.Errorf("%w: %d is not within 1..%d", ErrHandshakeKeyLength, n, MaxHandshakeKey)
	}
	return int(n), nil
}

// ParseClientKey parses "client:<match key> [-timeout=<seconds>] …". Options
// stand in any order, unknown ones are ignored, of several timeouts the last
// valid one counts. It fails with [ErrNotClient] or [ErrKeyEncoding]; a server
// answers both like a key that does not match.
func ParseClientKey(key []byte) (ClientHello, error) {
	if !utf8.Valid(key) {
		return ClientHello{}, fmt.Errorf("%w: %.40q", ErrKeyEncoding, key)
	}
	hello := ClientHello{Raw: string(key)}
	fields := strings.Fields(hello.Raw)
	if len(fields) == 0 {
		return ClientHello{}, fmt.Errorf("%w: it is blank", ErrNotClient)
	}
	matchKey, ok := strings.CutPrefix(fields[0], clientKeyPrefix)
	if !ok {
		return ClientHello{}, fmt.Errorf("%w: %.40q does not start with %q", ErrNotClient, fields[0], clientKeyPrefix)
	}
	hello.MatchKey = matchKey
	for _, option := range fields[1:] {
		value, ok := strings.CutPrefix(option, timeoutOption)
		if !ok {
			continue
		}
		if d, ok := parseTimeout(value); ok {
			hello.Timeout, hello.HasTimeout = d, true
		}
	}
	return hello, nil
}

// parseTimeout takes what Python's str prints for a positive number: 10, 10.0,
// 0.01, 1e-05. Go's parser knows more than that (0x1p-2, inf, 1_0), and what it
// knows more is refused. Durations are clamped to 1 ns … 292 years.
func parseTimeout(s string) (time.Duration, bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || !(f > 0) {
		return 0, false
	}
	return max(seconds(f), 1), true
}

// AppendClientHello appends what a client sends first: [Magic], length, key. A
// timeout above 0 is sent as a whole number of seconds where it is one, because
// C++ and JVM servers take no other.
func AppendClientHello(dst []byte, matchKey string, timeout time.Duration) []byte {
	key := clientKeyPrefix + matchKey
	if timeout > 0 {
		key += " " + timeoutOption + formatTimeout(timeout)
	}
	return appendKey(appendI32(dst, Magic), key)
}

func formatTimeout(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10)
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// AppendAccept appends a server's acceptance: [HandshakeSuccess] and its key,
// "server:<device key>".
func AppendAccept(dst []byte, serverKey string) []byte {
	return appendKey(appendI32(dst, HandshakeSuccess), serverKey)
}

// AppendMismatch appends a server's refusal, [HandshakeMismatch].
func AppendMismatch(dst []byte) []byte {
	return appendI32(dst, HandshakeMismatch)
}

func appendKey(dst []byte, key string) []byte {
	dst = appendI32(dst, int32(len(key)))
	return append(dst, key...)
}

// ServerAnswer is how a server answered a handshake.
type ServerAnswer struct {
	// Code is [HandshakeSuccess], [HandshakeDuplicate] or [HandshakeMismatch].
	Code int32
	// ServerKey is the key that the server gave with its success.
	ServerKey string
}

// Err returns nil for a success, else [ErrDuplicate] or [ErrMismatch].
func (a ServerAnswer) Err() error {
	switch a.Code {
	case HandshakeSuccess:
		return nil
	case HandshakeDuplicate:
		return ErrDuplicate
	}
	return ErrMismatch
}

// ParseServerAnswer parses a server's answer from the bytes that came so far.
// If there are enough, n is how many of them are the answer. If not, it fails
// with [ErrShortAnswer], and n is how many there must be at least for the next
// call, so a client that reads no further never swallows bytes of the session:
//
//	buf := make([]byte, 0, 64)
//	for {
//		answer, n, err := tvm.ParseServerAnswer(buf)
//		if !errors.Is(err, tvm.ErrShortAnswer) { … }
//		// read until len(buf) == n
//	}
//
// It fails with [ErrBadMagic] if the peer is no TVM RPC server and with
// [ErrHandshakeKeyLength] if its key is longer than [MaxHandshakeKey].
func ParseServerAnswer(b []byte) (a ServerAnswer, n int, err error) {
	if len(b) < 4 {
		return ServerAnswer{}, 4, fmt.Errorf("%w: %d of 4 bytes", ErrShortAnswer, len(b))
	}
	a.Code = readI32(b)
	switch a.Code {
	case HandshakeMismatch, HandshakeDuplicate:
		return a, 4, nil
	case HandshakeSuccess:
	default:
		return ServerAnswer{}, 0, fmt.Errorf("%w: answer %#x is not a TVM RPC server's", ErrBadMagic, uint32(a.Code))
	}
	if len(b) < HandshakeHeader {
		return ServerAnswer{}, HandshakeHeader, fmt.Errorf("%w: %d of %d bytes", ErrShortAnswer, len(b), HandshakeHeader)
	}
	// Nobody reads the server's key, so an empty one does no harm.
	keyLen := readI32(b[4:])
	if keyLen < 0 || keyLen > MaxHandshakeKey {
		return ServerAnswer{}, 0, fmt.Errorf("%w: server's key of %d bytes", ErrHandshakeKeyLength, keyLen)
	}
	n = HandshakeHeader + int(keyLen)
	if len(b) < n {
		return ServerAnswer{}, n, fmt.Errorf("%w: %d of %d bytes", ErrShortAnswer, len(b), n)
	}
	a.ServerKey = string(b[HandshakeHeader:n])
	return a, n, nil
}
