package shm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"rpcpool.dev/rpc/blob"
)

// op is what a message is for.
type op uint8

const (
	opHello    op = iota + 1 // Text: name. Answer: Handle: account, Ref: party
	opAllocate               // Length, Rights. Answer: Handle, Shared, a place
	opShare                  // Handle, Offset, Length, Rights. Answer: Handle
	opSlice                  // the same
	opAcquire                // Handle, Mode, Lease. Answer: Ref, a place
	opLocate                 // Handle, Call. Answer: a place
	opRelease                // Ref
	opFree                   // Handle
	opAccept                 // Handle
	opAnswer                 // to the last request; Code and Text if it failed
	opDrop                   // Segment is not used any more; no answer to anything
	opResult                 // Call, Length. Answer: Handle, a place
	opLetGo                  // Handle: opFree without an answer
	opUnmapped               // Segment, flagWrite: the peer could not map what came with the last answer; no answer
	opRead                   // Handle, Call, Offset, Length. Answer: Length, and a packet of so many bytes
	ops
)

// Flags of a place.
const (
	flagWrite = 1 << iota // it may be written
	flagOwn               // its segment has the peer's own blobs only
	flagHuge              // its segment is of huge pages
	flagFile              // the segment's descriptor comes with the message
	flags
)

// message is a request, an answer, or a notice. It is a packet: messageLen bytes,
// and text.
type message struct {
	op           op
	mode         blob.Mode
	rights       blob.Rights
	flags        uint8
	code         uint8 // of an error, see errorCodes
	segment      blob.SegmentID
	handle       blob.Handle // zero: none
	shared       blob.Handle // what others may have of it; zero: none
	call         blob.Call   // zero: none
	ref          uint64
	offset       uint64 // bytes
	length       uint64 // bytes
	segmentBytes uint64
	lease        uint64 // ns
	text         string
}

// mostRead is how much is read at once by who cannot map it, bytes.
const mostRead = 64 << 10

const (
	messageLen = 12 + 2*blob.HandleLen + 24 + 5*8
	mostText   = 400
)

var le = binary.LittleEndian

func (m *message) append(b []byte) []byte {
	b = append(b, byte(m.op), byte(m.mode), byte(m.rights), m.flags, m.code, 0, 0, 0)
	b = le.AppendUint32(b, uint32(m.segment))
	for _, h := range []*blob.Handle{&m.handle, &m.shared} {
		if *h == (blob.Handle{}) {
			b = append(b, make([]byte, blob.HandleLen)...)
		} else {
			b = h.Append(b)
		}
	}
	b = append(b, m.call.Session[:]...)
	for _, v := range []uint64{m.call.Seq, m.ref, m.offset, m.length, m.segmentBytes, m.lease} {
		b = le.AppendUint64(b, v)
	}
	return append(b, m.text[:min(len(m.text), mostText)]...)
}

var errMessage = errors.New("malformed message")

func parseMessage(b []byte) (m message, err error) {
	if len(b) < messageLen || len(b) > messageLen+mostText {
		return message{}, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	m = message{
		op: op(b[0]), mode: blob.Mode(b[1]), rights: blob.Rights(b[2]), flags: b[3], code: b[4],
		segment: blob.SegmentID(le.Uint32(b[8:])),
	}
	if m.op == 0 || m.op >= ops || m.flags >= flags || b[5]|b[6]|b[7] != 0 {
		return message{}, fmt.Errorf("%w: op %d, flags %#x", errMessage, m.op, m.flags)
	}
	b = b[12:]
	for _, to := range []*blob.Handle{&m.handle, &m.shared} {
		if h := [blob.HandleLen]byte(b); h != [blob.HandleLen]byte{} {
			if *to, err = blob.ParseHandle(h[:]); err != nil {
				return message{}, fmt.Errorf("%w: %w", errMessage, err)
			}
		}
		b = b[blob.HandleLen:]
	}
	m.call.Session = [16]byte(b)
	for i, v := range []*uint64{&m.call.Seq, &m.ref, &m.offset, &m.length, &m.segmentBytes, &m.lease} {
		*v = le.Uint64(b[16+8*i:])
	}
	m.text = string(b[16+8*6:])
	return m, nil
}

// errorCodes are the errors that are told apart on the other side, by code.
func errorCodes() []error {
	return []error{
		nil, errors.New("server of blobs failed"), blob.ErrMalformed, blob.ErrForged, blob.ErrDomain, blob.ErrGone, blob.ErrRights,
		blob.ErrRange, blob.ErrBusy, blob.ErrDirty, blob.ErrQuota, blob.ErrParty, blob.ErrCall,
	}
}

// failed is the answer to a request that failed.
func failed(err error) message {
	m := message{op: opAnswer, code: 1, text: err.Error()}
	for code, e := range errorCodes() {
		if code > 1 && errors.Is(err, e) {
			m.code = uint8(code)
		}
	}
	return m
}

// ErrUnmapped is returned for memory that this process cannot map now: it has too many
// descriptors, too many maps, or too little room for them. All else is as it was.
var ErrUnmapped = errors.New("memory of blobs cannot be mapped")

// RefusedError is what the host says is wrong: it is there.
type RefusedError struct {
	kind error
	text string
}

func (e *RefusedError) Error() string { return e.text }
func (e *RefusedError) Unwrap() error { return e.kind }

// err is the error that an answer tells, if any.
func (m *message) err() error {
	if m.code == 0 {
		return nil
	}
	codes := errorCodes()
	if int(m.code) >= len(codes) {
		m.code = 1
	}
	return &RefusedError{codes[m.code], m.text}
}
