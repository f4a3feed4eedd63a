package tvm

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Names of the fields of [UpdateInfo] and [ServerInfo].
const (
	// FieldKey is "server:<device key>".
	FieldKey = "key"
	// FieldAddr is [host or null, port].
	FieldAddr = "addr"
	// FieldState is ours: a [NativeState].
	FieldState = "state"
	// FieldSession is ours: a [SessionInfo], while a session runs.
	FieldSession = "session"
	// FieldAge is ours, in summaries only: seconds in the present state.
	FieldAge = "age_s"
	// FieldName is ours: what people call the server, such as its pod's name.
	FieldName = "name"
	// FieldInstance is ours: what no other server is ever called, such as its
	// pod's UID.
	FieldInstance = "instance"
	// FieldReason is ours: why the server is not free, for people.
	FieldReason = "reason"
	// FieldUnbounded is ours: the names of limits that were asked for and that the
	// server's machine cannot enforce.
	FieldUnbounded = "unbounded"
	// FieldRDMA is ours: an [RDMAInfo], of a server that was promised RDMA devices.
	FieldRDMA = "rdma"
)

// ServerKeyPrefix is what the key of a server's info, and the server's answer
// to a handshake, start with.
const ServerKeyPrefix = "server:"

// NativeState is what one of our servers says about itself. A server that says
// any state is explicit: the tracker infers nothing about it. Every state but
// [StateFree] withdraws the connection's offers; a later PUT means free again.
type NativeState string

// All native states.
const (
	StateFree        NativeState = "free"
	StateBusy        NativeState = "busy"
	StateDraining    NativeState = "draining"
	StateQuarantined NativeState = "quarantined"
	StateStarting    NativeState = "starting"
)

// Valid tells whether s is one of the states of this package.
func (s NativeState) Valid() bool {
	switch s {
	case StateFree, StateBusy, StateDraining, StateQuarantined, StateStarting:
		return true
	}
	return false
}

// SessionInfo says which session a busy server has.
type SessionInfo struct {
	// ID is the session's identifier at its server.
	ID string `json:"id"`
	// Client is the client's address.
	Client string `json:"client"`
}

// RDMAInfo says whether a server can use its RDMA devices.
type RDMAInfo struct {
	// Reason is a word of a closed set; empty: nobody has looked yet.
	Reason string `json:"reason"`
	// Message is for people: which device, and why.
	Message string `json:"message"`
}

// NewUpdateInfo returns the registration of a server for a device key. An empty
// host stands for the address that the tracker sees.
func NewUpdateInfo(deviceKey, host string, port int) UpdateInfo {
	addr := []byte("[")
	if host == "" {
		addr = append(addr, "null"...)
	} else {
		addr = appendString(addr, host)
	}
	addr = append(addr, ", "...)
	addr = strconv.AppendInt(addr, int64(port), 10)
	return UpdateInfo{Info: map[string]json.RawMessage{
		FieldKey:  appendString(nil, ServerKeyPrefix+deviceKey),
		FieldAddr: append(addr, ']'),
	}}
}

// SetState sets the native state, and the session if there is one.
func (m *UpdateInfo) SetState(s NativeState, session *SessionInfo) {
	if m.Info == nil {
		m.Info = make(map[string]json.RawMessage)
	}
	m.Info[FieldState] = appendString(nil, string(s))
	if session == nil {
		m.Info[FieldSession] = json.RawMessage("null")
		return
	}
	b := append([]byte(`{"id": `), appendString(nil, session.ID)...)
	b = append(b, `, "client": `...)
	m.Info[FieldSession] = append(appendString(b, session.Client), '}')
}

// Key returns the info's key, empty if it has none.
func (m UpdateInfo) Key() string { return infoString(m.Info, FieldKey) }

// State returns the native state; empty if the peer says none, as stock servers
// do.
func (m UpdateInfo) State() NativeState { return NativeState(infoString(m.Info, FieldState)) }

// Name returns what people call the server, empty if nothing.
func (m UpdateInfo) Name() string { return infoString(m.Info, FieldName) }

// Instance returns what no other server is called, empty if the peer says none.
func (m UpdateInfo) Instance() string { return infoString(m.Info, FieldInstance) }

// Reason returns why the server is not free, empty if it says nothing.
func (m UpdateInfo) Reason() string { return infoString(m.Info, FieldReason) }

// Session returns the session in progress, zero if the peer names none.
func (m UpdateInfo) Session() SessionInfo {
	var s SessionInfo
	if raw := m.Info[FieldSession]; len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return SessionInfo{}
	}
	return s
}

// RDMA returns what is true of the server's RDMA devices, zero if it says
// nothing.
func (m UpdateInfo) RDMA() RDMAInfo {
	var r RDMAInfo
	if raw := m.Info[FieldRDMA]; len(raw) == 0 || json.Unmarshal(raw, &r) != nil {
		return RDMAInfo{}
	}
	return r
}

// Addr returns the host, nil if it is null or absent, and the port as text,
// empty if absent.
func (m UpdateInfo) Addr() (host *string, port string) { return infoAddr(m.Info) }

// infoString returns a field that is a string, and empty for any other.
func infoString(info map[string]json.RawMessage, field string) string {
	raw := info[field]
	if !validJSON(raw) {
		return ""
	}
	s, err := parseString(field, trimSpace(raw))
	if err != nil {
		return ""
	}
	return s
}

func infoAddr(info map[string]json.RawMessage) (host *string, port string) {
	raw := info[FieldAddr]
	var pair [2][]byte
	if !validJSON(raw) {
		return nil, ""
	}
	if n, err := splitArray(raw, pair[:]); err != nil || n < len(pair) {
		return nil, ""
	}
	if h, err := parseString("host", pair[0]); err == nil {
		host = &h
	}
	return host, PortText(pair[1])
}

// infoSeconds returns a field that is a number of seconds, and 0 for any other.
func infoSeconds(info map[string]json.RawMessage, field string) time.Duration {
	raw := info[field]
	if !validJSON(raw) {
		return 0
	}
	f, err := parseNumber(field, trimSpace(raw))
	if err != nil {
		return 0
	}
	return seconds(f)
}

// seconds converts without overflow: what is too long becomes the longest
// duration there is.
func seconds(f float64) time.Duration {
	ns := f * float64(time.Second)
	switch {
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns <= math.MinInt64:
		return math.MinInt64
	}
	return time.Duration(ns)
}

// trimSpace strips JSON's white space around a value.
func trimSpace(raw []byte) []byte {
	for len(raw) > 0 && raw[0] <= ' ' {
		raw = raw[1:]
	}
	for len(raw) > 0 && raw[len(raw)-1] <= ' ' {
		raw = raw[:len(raw)-1]
	}
	return raw
}
