package tvm

import (
	"encoding/json"
	"strconv"
)

// Code is the first element of a tracker message, or a bare status reply.
type Code int32

// All codes of the tracker protocol.
const (
	CodeFail                Code = -1
	CodeSuccess             Code = 0
	CodePing                Code = 1
	CodeStop                Code = 2
	CodePut                 Code = 3
	CodeRequest             Code = 4
	CodeUpdateInfo          Code = 5
	CodeSummary             Code = 6
	CodeGetPendingMatchKeys Code = 7
)

// String returns the code's name as the reference spells it.
func (c Code) String() string {
	switch c {
	case CodeFail:
		return "FAIL"
	case CodeSuccess:
		return "SUCCESS"
	case CodePing:
		return "PING"
	case CodeStop:
		return "STOP"
	case CodePut:
		return "PUT"
	case CodeRequest:
		return "REQUEST"
	case CodeUpdateInfo:
		return "UPDATE_INFO"
	case CodeSummary:
		return "SUMMARY"
	case CodeGetPendingMatchKeys:
		return "GET_PENDING_MATCHKEYS"
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// Message is a request to the tracker. Its implementations are the struct types
// of this file, by value: [Ping], [Stop], [Put], [Request], [UpdateInfo],
// [Summary], [GetPendingMatchKeys].
type Message interface {
	// Code returns the message's code.
	Code() Code
	// AppendPayload appends the message as a JSON array, without a frame header.
	AppendPayload(dst []byte) []byte
}

// Ping asks for the status 0. No stock peer sends it; probes may.
type Ping struct{}

// Stop asks the tracker to end; only who knows its stop key may.
type Stop struct {
	// Key is the secret that the tracker compares.
	Key string
}

// Put offers one session: the tracker may give MatchKey to one client, which
// then shows it to the server at Host and Port.
type Put struct {
	// Key is the device key under which the session is offered.
	Key string
	// Port is a JSON number or string, passed on to the client as it came:
	// C++ and JVM servers send text, Python servers a number.
	Port json.RawMessage
	// MatchKey is the one-shot ticket.
	MatchKey string
	// Host is the address to give to the client. Nil (null or absent on the
	// wire) means the address of the connection's peer; the empty string counts
	// as given.
	Host *string
}

// Request asks for one session on any server of a device key. Its answer, a
// [Grant], comes when a server is free, perhaps never.
type Request struct {
	// Key is the device key.
	Key string
	// User is free text. Stock clients leave it empty.
	User string
	// Priority orders the queue: higher first. It is finite.
	Priority float64
}

// UpdateInfo merges fields into what the tracker tells about the connection in
// its summary. See [NewUpdateInfo] for the fields that have a meaning.
type UpdateInfo struct {
	// Info holds the fields, each as JSON text.
	Info map[string]json.RawMessage
}

// Summary asks for a [SummaryReply].
type Summary struct{}

// GetPendingMatchKeys asks for the match keys that this connection has put and
// that no client has been given yet.
type GetPendingMatchKeys struct{}

// Code returns [CodePing].
func (Ping) Code() Code { return CodePing }

// Code returns [CodeStop].
func (Stop) Code() Code { return CodeStop }

// Code returns [CodePut].
func (Put) Code() Code { return CodePut }

// Code returns [CodeRequest].
func (Request) Code() Code { return CodeRequest }

// Code returns [CodeUpdateInfo].
func (UpdateInfo) Code() Code { return CodeUpdateInfo }

// Code returns [CodeSummary].
func (Summary) Code() Code { return CodeSummary }

// Code returns [CodeGetPendingMatchKeys].
func (GetPendingMatchKeys) Code() Code { return CodeGetPendingMatchKeys }

// AppendPayload appends "[1]".
func (Ping) AppendPayload(dst []byte) []byte { return append(dst, "[1]"...) }

// AppendPayload appends "[6]".
func (Summary) AppendPayload(dst []byte) []byte { return append(dst, "[6]"...) }

// AppendPayload appends "[7]".
func (GetPendingMatchKeys) AppendPayload(dst []byte) []byte { return append(dst, "[7]"...) }

// AppendPayload appends `[2, "<stop key>"]`.
func (m Stop) AppendPayload(dst []byte) []byte {
	dst = append(dst, "[2, "...)
	dst = appendString(dst, m.Key)
	return append(dst, ']')
}

// AppendPayload appends `[3, "<key>", [<port>, "<match key>"], <host or null>]`.
// A Port that is not JSON is written as null.
func (m Put) AppendPayload(dst []byte) []byte {
	dst = append(dst, "[3, "...)
	dst = appendString(dst, m.Key)
	dst = append(dst, ", ["...)
	dst = appendRaw(dst, m.Port)
	dst = append(dst, ", "...)
	dst = appendString(dst, m.MatchKey)
	dst = append(dst, "], "...)
	if m.Host == nil {
		return append(dst, "null]"...)
	}
	dst = appendString(dst, *m.Host)
	return append(dst, ']')
}

// AppendPayload appends `[4, "<key>", "<user>", <priority>]`. JSON has no NaN
// and no infinity: NaN is written as 0, an infinity as the largest float64.
func (m Request) AppendPayload(dst []byte) []byte {
	dst = append(dst, "[4, "...)
	dst = appendString(dst, m.Key)
	dst = append(dst, ", "...)
	dst = appendString(dst, m.User)
	dst = append(dst, ", "...)
	dst = appendNumber(dst, m.Priority)
	return append(dst, ']')
}

// AppendPayload appends `[5, {…}]`: first the fields "key" and "addr", then the
// others in the order of their names. A field that is not JSON is written as
// null.
func (m UpdateInfo) AppendPayload(dst []byte) []byte {
	dst = append(dst, "[5, "...)
	dst, _, _ = appendInfo(dst, m.Info)
	return append(dst, ']')
}
