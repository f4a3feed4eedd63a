package frame

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"
)

const (
	// MaxMethodName is the longest name of a method, in bytes.
	MaxMethodName = 512

	creditLen    = 8
	goAwayFixed  = 8
	failureFixed = 10
	maxText      = 1024
)

// Credit is the body of CREDIT: how many metered bytes may be sent in all, since
// the connection began (seq 0; headers count) or of the message with that seq
// (bodies only). It never shrinks.
type Credit uint64

// Append appends the body.
func (c Credit) Append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(c))
}

// ParseCredit parses the body of CREDIT.
func ParseCredit(body []byte) (Credit, error) {
	if len(body) != creditLen {
		return 0, errf(ReasonProtocol, "CREDIT has a body of %d bytes, want %d", len(body), creditLen)
	}
	return Credit(binary.LittleEndian.Uint64(body)), nil
}

// GoAway is the body of GOAWAY. The header's seq is the last call that may run.
type GoAway struct {
	Reason Reason
	Grace  time.Duration // until the connection is closed; whole milliseconds, at most 49 days
	Text   string        // for people, at most 1024 bytes of UTF-8
}

// Append appends the body. A longer text is cut.
func (g *GoAway) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Reason))
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(g.Grace.Milliseconds()))
	return append(dst, cutText(g.Text)...)
}

// ParseGoAway parses the body of GOAWAY.
func ParseGoAway(body []byte) (GoAway, error) {
	if len(body) < goAwayFixed || len(body) > goAwayFixed+maxText {
		return GoAway{}, errf(ReasonProtocol, "GOAWAY has a body of %d bytes", len(body))
	}
	text := body[goAwayFixed:]
	if !utf8.Valid(text) {
		return GoAway{}, errf(ReasonProtocol, "GOAWAY has a text that is not UTF-8")
	}
	return GoAway{
		Reason: Reason(binary.LittleEndian.Uint16(body)),
		Grace:  time.Duration(binary.LittleEndian.Uint32(body[4:])) * time.Millisecond,
		Text:   string(text),
	}, nil
}

// Execution says how often a call has run that did not return a result.
type Execution uint8

// Executions.
const (
	Indeterminate Execution = iota // at most once; it will not start any more
	NotExecuted                    // never, and it never will
	Executed                       // once
	executions
)

// String returns the execution's word.
func (x Execution) String() string {
	if x < executions {
		return [executions]string{"Indeterminate", "NotExecuted", "Executed"}[x]
	}
	return "Execution?"
}

// Failure is the body of ERROR.
type Failure struct {
	Code      uint16
	Execution Execution
	Retry     time.Duration // wait so long before you try again, in whole milliseconds on the wire; 0: not said; negative: do not
	Text      []byte        // UTF-8, at most 1024 bytes; points into the body
	Detail    []byte        // what the caller's layer makes of it; points into the body
}

// Append appends the body. A longer text is cut.
func (f *Failure) Append(dst []byte) []byte {
	text := cutText(string(f.Text))
	dst = binary.LittleEndian.AppendUint16(dst, f.Code)
	dst = append(dst, byte(f.Execution), 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(retryOf(f.Retry)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(text)))
	return append(append(dst, text...), f.Detail...)
}

// retryOf is a wait as ERROR says it, in whole milliseconds: what is short is not 0, which says nothing.
func retryOf(d time.Duration) int32 {
	ms := d.Milliseconds()
	switch rest := d % time.Millisecond; {
	case rest > 0:
		ms++
	case ms == 0 && rest < 0:
		ms--
	}
	return int32(max(min(ms, math.MaxInt32), math.MinInt32))
}

// ParseFailure parses the body of ERROR.
func ParseFailure(body []byte) (Failure, error) {
	if len(body) < failureFixed {
		return Failure{}, errf(ReasonProtocol, "failure has a body of %d bytes, at least %d are needed", len(body), failureFixed)
	}
	n := int(binary.LittleEndian.Uint16(body[8:]))
	rest := body[failureFixed:]
	x := Execution(body[2])
	switch {
	case x >= executions:
		return Failure{}, errf(ReasonProtocol, "failure has execution %d", x)
	case n > maxText || n > len(rest) || !utf8.Valid(rest[:n]):
		return Failure{}, errf(ReasonProtocol, "failure has a text of %d bytes that is too long, cut off or not UTF-8", n)
	}
	return Failure{
		Code:      binary.LittleEndian.Uint16(body),
		Execution: x,
		Retry:     time.Duration(int32(binary.LittleEndian.Uint32(body[4:]))) * time.Millisecond,
		Text:      rest[:n],
		Detail:    rest[n:],
	}, nil
}

// CheckMethodName fails unless name can be bound: 1 to [MaxMethodName] bytes of
// UTF-8.
func CheckMethodName(name []byte) error {
	if len(name) == 0 || len(name) > MaxMethodName || !utf8.Valid(name) {
		return errf(ReasonProtocol, "method name %.40q is empty, too long or not UTF-8", name)
	}
	return nil
}

// cutText cuts s to what a text may be, between two characters.
func cutText(s string) string {
	if !utf8.ValidString(s) {
		s = string([]rune(s)) // every bad byte becomes U+FFFD
	}
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
