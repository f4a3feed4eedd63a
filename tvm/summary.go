package tvm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// SummaryReply is the tracker's answer to [Summary]. Stock clients index its
// fields by name, so fields of ours beside theirs do not disturb them.
type SummaryReply struct {
	// Queue has one entry per device key.
	Queue map[string]QueueInfo `json:"queue_info"`
	// Servers has one entry per connected server, in a session or not.
	Servers []ServerInfo `json:"server_info"`
}

// QueueInfo counts what waits under one device key.
type QueueInfo struct {
	// Free is the number of sessions that are offered.
	Free int `json:"free"`
	// Pending is the number of requests that wait.
	Pending int `json:"pending"`
	// Waiting lists the requests that wait, the next to be served first (ours).
	Waiting []Waiting `json:"waiting,omitempty"`
}

// Waiting is a request that waits (ours).
type Waiting struct {
	// Client is the client's address.
	Client string `json:"client"`
	// User is what the client gave as its user.
	User string `json:"user"`
	// Priority is the request's priority; higher is served first.
	Priority float64 `json:"priority"`
	// AgeS is how long the request has waited, in seconds.
	AgeS float64 `json:"age_s"`
}

// ServerInfo is what a server told about itself by [UpdateInfo], verbatim, with
// what the tracker knows added. As JSON it is the object of its fields.
type ServerInfo struct {
	// Info holds the fields, each as JSON text.
	Info map[string]json.RawMessage
}

// Key returns "server:<device key>"; a proxy's names all of its keys.
func (s ServerInfo) Key() string { return infoString(s.Info, FieldKey) }

// Addr returns the server's host and port as text; empty where it told none.
func (s ServerInfo) Addr() (host, port string) {
	h, port := infoAddr(s.Info)
	if h != nil {
		host = *h
	}
	return host, port
}

// State returns the server's state, empty from a stock tracker.
func (s ServerInfo) State() string { return infoString(s.Info, FieldState) }

// Age returns how long the server has been in its state, 0 if nobody says.
func (s ServerInfo) Age() time.Duration { return infoSeconds(s.Info, FieldAge) }

// Reason returns why the server is not free, empty if it says nothing.
func (s ServerInfo) Reason() string { return infoString(s.Info, FieldReason) }

// MarshalJSON returns the object of the fields, key and addr first. It fails if
// a field is not JSON.
func (s ServerInfo) MarshalJSON() ([]byte, error) {
	b, bad, ok := appendInfo(nil, s.Info)
	if !ok {
		return nil, fmt.Errorf("%w: field %.40q is not JSON", ErrMessage, bad)
	}
	return b, nil
}

// UnmarshalJSON takes an object of any fields, and nothing else: clients index
// every entry by name.
func (s *ServerInfo) UnmarshalJSON(b []byte) error {
	s.Info = make(map[string]json.RawMessage)
	return eachMember(b, func(name string, value []byte) error {
		s.Info[name] = bytes.Clone(value)
		return nil
	})
}

// AppendPayload appends `[0, {"queue_info": {…}, "server_info": […]}]` with
// queues in the order of their keys and servers as given. It fails if a
// server's field is not JSON, with dst unchanged.
func (s SummaryReply) AppendPayload(dst []byte) ([]byte, error) {
	out := append(dst, `[0, {"queue_info": {`...)
	for i, key := range slices.Sorted(maps.Keys(s.Queue)) {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = appendString(out, key)
		out = append(out, ": "...)
		out = appendQueue(out, s.Queue[key])
	}
	out = append(out, `}, "server_info": [`...)
	for i, server := range s.Servers {
		if i > 0 {
			out = append(out, ", "...)
		}
		var bad string
		var ok bool
		if out, bad, ok = appendInfo(out, server.Info); !ok {
			return dst, fmt.Errorf("%w: summary: server %d: field %.40q is not JSON", ErrMessage, i, bad)
		}
	}
	return append(out, "]}]"...), nil
}

func appendQueue(dst []byte, q QueueInfo) []byte {
	dst = append(dst, `{"free": `...)
	dst = strconv.AppendInt(dst, int64(q.Free), 10)
	dst = append(dst, `, "pending": `...)
	dst = strconv.AppendInt(dst, int64(q.Pending), 10)
	if len(q.Waiting) > 0 {
		dst = append(dst, `, "waiting": [`...)
		for i, w := range q.Waiting {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendWaiting(dst, w)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func appendWaiting(dst []byte, w Waiting) []byte {
	dst = append(dst, `{"client": `...)
	dst = appendString(dst, w.Client)
	dst = append(dst, `, "user": `...)
	dst = appendString(dst, w.User)
	dst = append(dst, `, "priority": `...)
	dst = appendNumber(dst, w.Priority)
	dst = append(dst, `, "age_s": `...)
	dst = appendNumber(dst, w.AgeS)
	return append(dst, '}')
}

// ParseSummaryReply parses the answer to [Summary], from our tracker or a stock
// one. It fails with [ErrRefused] if the tracker answered with FAIL.
func ParseSummaryReply(payload []byte) (SummaryReply, error) {
	if !utf8.Valid(payload) {
		return SummaryReply{}, fmt.Errorf("%w: payload is not UTF-8", ErrMessage)
	}
	value, err := parseReply(payload)
	if err != nil {
		return SummaryReply{}, err
	}
	if value[0] != '{' {
		return SummaryReply{}, fmt.Errorf("%w: summary is not an object", ErrMessage)
	}
	var s SummaryReply
	if err := json.Unmarshal(value, &s); err != nil {
		return SummaryReply{}, fmt.Errorf("%w: summary: %w", ErrMessage, err)
	}
	return s, nil
}
