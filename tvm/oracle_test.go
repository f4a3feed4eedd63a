package tvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"unicode/utf8"
)

var errOracle = errors.New("oracle: not a message")

// oracleMessage parses a message by encoding/json, as plainly as can be. It is
// what ParseMessage's own scanner is held against.
func oracleMessage(payload []byte) (Message, error) {
	if !utf8.Valid(payload) {
		return nil, errOracle
	}
	var e []json.RawMessage
	if err := json.Unmarshal(payload, &e); err != nil || len(e) == 0 {
		return nil, errOracle
	}
	code, err := strconv.Atoi(string(e[0]))
	if err != nil {
		return nil, errOracle
	}
	arg := func(i int) json.RawMessage {
		if i < len(e) {
			return e[i]
		}
		return nil
	}
	switch Code(code) {
	case CodePing:
		return Ping{}, nil
	case CodeStop:
		key, ok := oracleString(arg(1))
		return Stop{Key: key}, oracleErr(ok)
	case CodePut:
		return oraclePut(arg)
	case CodeRequest:
		return oracleRequest(arg)
	case CodeUpdateInfo:
		return oracleUpdateInfo(arg(1))
	case CodeSummary:
		return Summary{}, nil
	case CodeGetPendingMatchKeys:
		return GetPendingMatchKeys{}, nil
	}
	return nil, errOracle
}

func oraclePut(arg func(int) json.RawMessage) (Message, error) {
	var pair []json.RawMessage
	if arg(2) == nil || json.Unmarshal(arg(2), &pair) != nil || len(pair) < 2 {
		return nil, errOracle
	}
	p := Put{Port: pair[0]}
	var ok [3]bool
	p.Key, ok[0] = oracleString(arg(1))
	p.MatchKey, ok[1] = oracleString(pair[1])
	ok[2] = oraclePort(pair[0])
	if h := arg(3); h != nil && string(h) != "null" {
		host, isString := oracleString(h)
		if !isString {
			return nil, errOracle
		}
		p.Host = &host
	}
	return p, oracleErr(ok == [3]bool{true, true, true})
}

func oracleRequest(arg func(int) json.RawMessage) (Message, error) {
	var r Request
	var ok bool
	if r.Key, ok = oracleString(arg(1)); !ok {
		return nil, errOracle
	}
	if string(arg(2)) != "null" {
		if r.User, ok = oracleString(arg(2)); !ok {
			return nil, errOracle
		}
	}
	if len(arg(3)) == 0 || string(arg(3)) == "null" || json.Unmarshal(arg(3), &r.Priority) != nil || math.IsInf(r.Priority, 0) {
		return nil, errOracle
	}
	return r, nil
}

func oracleUpdateInfo(raw json.RawMessage) (Message, error) {
	var u UpdateInfo
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &u.Info) != nil {
		return nil, errOracle
	}
	if key, ok := u.Info["key"]; ok {
		if _, ok := oracleString(key); !ok {
			return nil, errOracle
		}
	}
	addr, ok := u.Info["addr"]
	if !ok {
		return u, nil
	}
	var pair []json.RawMessage
	if json.Unmarshal(addr, &pair) != nil || len(pair) < 2 || !oraclePort(pair[1]) {
		return nil, errOracle
	}
	if string(pair[0]) != "null" {
		if _, ok := oracleString(pair[0]); !ok {
			return nil, errOracle
		}
	}
	return u, nil
}

func oraclePort(raw json.RawMessage) bool {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		// The one number that is JSON but that encoding/json refuses: too large.
		return json.Valid(raw) && (raw[0] == '-' || isDigit(raw[0]))
	}
	switch v.(type) {
	case string, float64:
		return true
	}
	return false
}

func oracleString(raw json.RawMessage) (string, bool) {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return "", false
	}
	s, ok := v.(string)
	return s, ok
}

func oracleErr(ok bool) error {
	if !ok {
		return errOracle
	}
	return nil
}

// surrogate finds escapes that encoding/json replaces by U+FFFD unless they
// come in pairs, and that ParseMessage refuses.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// stricter tells whether ParseMessage may refuse what the oracle takes: the
// bounds that it has of its own.
func stricter(payload []byte, m Message) bool {
	var port json.RawMessage
	switch m := m.(type) {
	case Put:
		port = m.Port
	case UpdateInfo:
		var pair []json.RawMessage
		if json.Unmarshal(m.Info[FieldAddr], &pair) == nil && len(pair) > 1 {
			port = pair[1]
		}
		if len(m.Info) > maxInfoFields {
			return true
		}
	}
	return len(port) > maxPort || !isASCII(port) || surrogate.Match(payload) || stricterDepth(payload)
}

func sameMessage(a, b Message) bool { return reflect.DeepEqual(a, b) }

func stricterDepth(b []byte) bool {
	return bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth
}

func sameJSON(a, b any) bool { return reflect.DeepEqual(a, b) }

func isASCII(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}
