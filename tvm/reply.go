package tvm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Grant is the tracker's answer to a [Request]: where to connect, and the match
// key to show there.
type Grant struct {
	// Host is the server's address or name.
	Host string
	// Port is the JSON number or string that the server put. See [PortText].
	Port json.RawMessage
	// MatchKey is the one-shot ticket.
	MatchKey string
}

// AppendPayload appends `[0, ["<host>", <port>, "<match key>"]]`. A Port that
// is not JSON is written as null.
func (g Grant) AppendPayload(dst []byte) []byte {
	dst = append(dst, "[0, ["...)
	dst = appendString(dst, g.Host)
	dst = append(dst, ", "...)
	dst = appendRaw(dst, g.Port)
	dst = append(dst, ", "...)
	dst = appendString(dst, g.MatchKey)
	return append(dst, "]]"...)
}

// ParseGrant parses the answer to a [Request]. It fails with [ErrRefused] if
// the tracker answered with FAIL.
func ParseGrant(payload []byte) (Grant, error) {
	value, err := parseReply(payload)
	if err != nil {
		return Grant{}, err
	}
	var e [3][]byte
	n, err := splitArray(value, e[:])
	if err != nil || n < len(e) {
		return Grant{}, fmt.Errorf("%w: grant is not [host, port, match key]", ErrMessage)
	}
	var g Grant
	if g.Host, err = parseString("grant: host", e[0]); err != nil {
		return Grant{}, err
	}
	if g.Port, err = parsePort("grant: port", e[1]); err != nil {
		return Grant{}, err
	}
	if g.MatchKey, err = parseString("grant: match key", e[2]); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// parseReply returns the second element of `[0, value]`.
func parseReply(payload []byte) ([]byte, error) {
	if !utf8.Valid(payload) {
		return nil, fmt.Errorf("%w: payload is not UTF-8", ErrMessage)
	}
	if c, ok := status(payload); ok {
		return nil, fmt.Errorf("%w: bare status %s", ErrRefused, c)
	}
	var e [2][]byte
	n, err := splitArray(payload, e[:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: empty array", ErrMessage)
	}
	code, err := parseCode(e[0])
	if err != nil {
		return nil, err
	}
	if code != CodeSuccess {
		return nil, fmt.Errorf("%w: %s", ErrRefused, code)
	}
	if n < len(e) {
		return nil, fmt.Errorf("%w: reply has no value", ErrMessage)
	}
	return e[1], nil
}

// AppendStatus appends a bare status, "0" or "-1": peers compare this text, so
// there is nothing around it.
func AppendStatus(dst []byte, c Code) []byte {
	return strconv.AppendInt(dst, int64(c), 10)
}

// ParseStatus parses a bare status: [CodeSuccess] or [CodeFail], nothing else.
func ParseStatus(payload []byte) (Code, error) {
	c, ok := status(payload)
	if !ok {
		return 0, fmt.Errorf("%w: %.40q is not a status", ErrMessage, payload)
	}
	return c, nil
}

func status(payload []byte) (c Code, ok bool) {
	switch string(payload) {
	case "0":
		return CodeSuccess, true
	case "-1":
		return CodeFail, true
	}
	return 0, false
}

// AppendMatchKeys appends the answer to [GetPendingMatchKeys]: a bare array
// without a status.
func AppendMatchKeys(dst []byte, keys []string) []byte {
	dst = append(dst, '[')
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, key)
	}
	return append(dst, ']')
}

// ParseMatchKeys parses the answer to [GetPendingMatchKeys]. No keys give nil.
func ParseMatchKeys(payload []byte) ([]string, error) {
	if !utf8.Valid(payload) {
		return nil, fmt.Errorf("%w: payload is not UTF-8", ErrMessage)
	}
	s := scanner{b: payload}
	if s.peek() != '[' {
		return nil, s.fail("an array")
	}
	var keys []string
	err := s.array(0, func(raw []byte) error {
		key, err := parseString("match key", raw)
		keys = append(keys, key)
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// PortText returns a port as text, whether it came as a number or a string;
// empty if it is neither.
func PortText(port json.RawMessage) string {
	if _, err := parsePort("port", port); err != nil || !validJSON(port) {
		return ""
	}
	if port[0] == '"' {
		return unquote(port)
	}
	return string(port)
}

// PortNumber returns a port as the JSON number that Python and our servers send.
func PortNumber(port int) json.RawMessage {
	return strconv.AppendInt(nil, int64(port), 10)
}
