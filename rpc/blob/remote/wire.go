package remote

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// op is what a client asks for. The numbers are part of the wire.
type op uint8

const (
	opJoin     op = iota + 1 // Secret, Text: name, Time: lease. Answer: Handle: account, Time
	opAllocate               // Number, Length, Rights; Time: another transfer whose end is known. Answer: Handle
	opPut                    // the same, or Number, Handle, Offset and Length. Answer: Handle, Offset: from which to go on
	opGet                    // Handle, Offset, Length, Time: bytes that are there already
	opShare                  // Handle, Offset, Length, Rights. Answer: Handle
	opSlice                  // the same
	opFree                   // Handle
	opAccept                 // Handle
	opAcquire                // Number, Handle, Mode, Time: lease
	opRelease                // Number
	opForget                 // Number: of a transfer that is given up
	opRenew                  //
	opLeave                  //
	opLine                   // Text: a mover's offer. Answer: Text: the other one's
	opCopy                   // as opAllocate, of a blob that begins with the first Offset bytes of Handle. Answer: Handle
	ops
)

// Flags of what is asked and answered.
const (
	flagKnown = 1 << iota // JOIN: the party has been welcomed before
	flagDone              // PUT, answered: nothing is missing
	flagPull              // PUT, GET: a mover is to move the bytes; Text: where they are
	flags
)

const (
	fixedLen  = 104 // of what is asked or answered, before its text
	readyLen  = 16
	secretLen = 16
	mostText  = frame.MaxBulk - fixedLen
	mostName  = 64
)

// The bounds of a lease.
const (
	minLease = time.Second
	maxLease = 5 * time.Minute
)

var le = binary.LittleEndian

// message is what is asked or answered.
type message struct {
	Op     op        // 0: an answer
	Code   code      // of an answer: why not
	Mode   blob.Mode // of a reference
	Rights blob.Rights
	Flags  uint8
	Handle blob.Handle
	Offset uint64
	Length uint64
	Number uint64 // of a transfer or a reference; the client's choice
	Time   uint64 // ms, or as the op says
	Secret [secretLen]byte
	Text   []byte // points into the body
}

// 0  op, or code
// 1  mode
// 2  rights
// 3  flags
// 4  0
// 8  handle; of JOIN: the secret, and zeros
// 72 offset, length, number, time
// 104 text
func (m *message) append(b []byte) []byte {
	first := byte(m.Op)
	if m.Op == 0 {
		first = byte(m.Code)
	}
	b = append(b, first, byte(m.Mode), byte(m.Rights), m.Flags, 0, 0, 0, 0)
	switch {
	case m.Op == opJoin:
		b = append(append(b, m.Secret[:]...), make([]byte, blob.HandleLen-secretLen)...)
	case m.Handle == blob.Handle{}:
		b = append(b, make([]byte, blob.HandleLen)...)
	default:
		b = m.Handle.Append(b)
	}
	for _, v := range [...]uint64{m.Offset, m.Length, m.Number, m.Time} {
		b = le.AppendUint64(b, v)
	}
	return append(b, m.Text[:min(len(m.Text), mostText)]...)
}

func malformed(format string, args ...any) error {
	return &frame.Error{Reason: frame.ReasonProtocol, Text: fmt.Sprintf(format, args...)}
}

// parse decodes what is asked, or an answer.
func parse(b []byte, answer bool) (m message, err error) {
	if len(b) < fixedLen || len(b) > frame.MaxBulk {
		return message{}, malformed("bulk message of %d bytes", len(b))
	}
	m = message{Op: op(b[0]), Mode: blob.Mode(b[1]), Rights: blob.Rights(b[2]), Flags: b[3]}
	if answer {
		m.Op, m.Code = 0, code(b[0])
	} else if m.Op == 0 || m.Op >= ops {
		return message{}, malformed("a client asks for %d", b[0])
	}
	if m.Flags >= flags || le.Uint32(b[4:]) != 0 {
		return message{}, malformed("bulk message with flags %#x, reserved bytes % x", m.Flags, b[4:8])
	}
	rest := b[8+blob.HandleLen:]
	if h := [blob.HandleLen]byte(b[8:]); m.Op == opJoin {
		m.Secret = [secretLen]byte(h[:])
		if [blob.HandleLen - secretLen]byte(h[secretLen:]) != [blob.HandleLen - secretLen]byte{} {
			return message{}, malformed("JOIN with something behind its secret")
		}
	} else if h != [blob.HandleLen]byte{} {
		if m.Handle, err = blob.ParseHandle(h[:]); err != nil {
			return message{}, malformed("%v", err)
		}
	}
	for i, v := range []*uint64{&m.Offset, &m.Length, &m.Number, &m.Time} {
		*v = le.Uint64(rest[8*i:])
	}
	m.Text = b[fixedLen:]
	return m, nil
}

// lease is Time as one, and within what can be.
func (m *message) lease() time.Duration {
	return time.Duration(min(m.Time, uint64(maxLease.Milliseconds()))) * time.Millisecond
}

// ready ends the bytes of a transfer.
type ready struct {
	Code   code
	Sum    uint32 // CRC-32C of the whole
	Length uint64 // of the whole, bytes
	Text   []byte // points into the body
}

func (r *ready) append(b []byte) []byte {
	b = le.AppendUint32(append(b, byte(r.Code), 0, 0, 0), r.Sum)
	return append(le.AppendUint64(b, r.Length), cut(r.Text)...)
}

func parseReady(b []byte) (ready, error) {
	if len(b) < readyLen || b[1]|b[2]|b[3] != 0 {
		return ready{}, malformed("READY of %d bytes, or with something in its reserved ones", len(b))
	}
	return ready{code(b[0]), le.Uint32(b[4:]), le.Uint64(b[8:]), b[readyLen:]}, nil
}

// cut makes a text short enough, between two characters.
func cut(text []byte) []byte {
	const most = 1024
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// code says what is wrong. The numbers are part of the wire.
type code uint8

const (
	codeFine code = iota
	codeOther
	codeChecksum = 20 // those between are of package blob
	codeGivenUp  = 21
	codeMover    = 22
	codeMany     = 23
)

// codes are the errors that are told apart on the other side.
func codes() map[code]error {
	return map[code]error{
		codeOther: errors.New("server of blobs failed"),
		2:         blob.ErrMalformed, 3: blob.ErrForged, 4: blob.ErrDomain, 5: blob.ErrGone, 6: blob.ErrRights, 7: blob.ErrRange,
		8: blob.ErrBusy, 9: blob.ErrDirty, 10: blob.ErrQuota, 11: blob.ErrParty, 12: blob.ErrCall,
		codeChecksum: ErrChecksum, codeGivenUp: errGivenUp, codeMover: errMover, codeMany: ErrMany,
	}
}

// codeOf is the code of an error.
func codeOf(err error) code {
	if err == nil {
		return codeFine
	}
	for c, e := range codes() {
		if c != codeOther && errors.Is(err, e) {
			return c
		}
	}
	return codeOther
}

// Errors of this package. Those of package blob are told apart on both sides, too.
var (
	// ErrLost is returned for everything after the server has forgotten this client: its
	// lease is over, or the server is another one.
	ErrLost = errors.New("server has forgotten this client, and all that it had")
	// ErrClosed is returned for everything after Close.
	ErrClosed = errors.New("client of blobs is closed")
	// ErrChecksum is returned for bytes that did not arrive as they were sent, or that
	// somebody has changed meanwhile.
	ErrChecksum = errors.New("checksum is wrong")
	// ErrMany is returned for what would be too much at a time: transfers, references.
	ErrMany = errors.New("too many at a time")
	// ErrSource is returned for a source that has fewer bytes than was said, or that
	// cannot be read again after a cut.
	ErrSource = errors.New("source of bytes")
	// ErrSink is returned for a writer that does not take what was got.
	ErrSink = errors.New("sink of bytes")

	errGivenUp = errors.New("the other side has given up")
	errMover   = errors.New("the other side's mover failed")
)

// RefusedError is what a server says is wrong. errors.Is tells what, by the errors of
// this package and of package blob.
type RefusedError struct {
	What       string        // was asked for
	Text       string        // what the server says
	RetryAfter time.Duration // may be asked for again after it; 0: not said
	kind       error
}

func (e *RefusedError) Error() string { return e.What + ": " + e.Text }
func (e *RefusedError) Unwrap() error { return e.kind }

// pushback is after what time something that was refused may be asked for again.
const pushback = 100 * time.Millisecond

// refusal is the answer that tells an error.
func refusal(err error) message {
	m := message{Code: codeOf(err), Text: cut([]byte(err.Error()))}
	if errors.Is(err, blob.ErrQuota) || errors.Is(err, blob.ErrBusy) || errors.Is(err, ErrMany) {
		m.Time = uint64(pushback.Milliseconds())
	}
	return m
}

// refused is the error that a code and a text tell.
func refused(what string, c code, text []byte, after uint64) error {
	if c == codeFine {
		return nil
	}
	kind := codes()[c]
	if kind == nil {
		kind = codes()[codeOther]
	}
	return &RefusedError{
		What: what, Text: string(text), RetryAfter: time.Duration(min(after, 1<<30)) * time.Millisecond, kind: kind,
	}
}
