package tvm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

const (
	// maxElements is how many elements of a message are looked at; more are
	// checked to be JSON and otherwise ignored, as the reference does.
	maxElements = 4
	// maxPort bounds a port's JSON text. The tracker keeps it per offer and
	// repeats it in grants.
	maxPort = 64
	// maxInfoFields bounds the fields of one UPDATE_INFO, so that a frame of
	// tiny fields cannot grow to many times its length in memory.
	maxInfoFields = 4096
)

// ParseMessage parses a request to the tracker. It fails with [ErrMessage] on
// everything that is not exactly of a request's shape and with [ErrUnknownCode]
// on codes that no peer may send; the answer to both is to close the
// connection. Elements beyond those that a code needs are ignored. An
// UPDATE_INFO without "addr" is accepted: v0.6 and v0.7 servers send that.
//
// The message keeps no reference to payload.
func ParseMessage(payload []byte) (Message, error) {
	if !utf8.Valid(payload) {
		return nil, fmt.Errorf("%w: payload is not UTF-8", ErrMessage)
	}
	var elements [maxElements][]byte
	n, err := splitArray(payload, elements[:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: empty array", ErrMessage)
	}
	code, err := parseCode(elements[0])
	if err != nil {
		return nil, err
	}
	return parseBody(code, elements[1:n])
}

func parseBody(code Code, args [][]byte) (Message, error) {
	switch code {
	case CodePing:
		return Ping{}, nil
	case CodeStop:
		return parseStop(args)
	case CodePut:
		return parsePut(args)
	case CodeRequest:
		return parseRequest(args)
	case CodeUpdateInfo:
		return parseUpdateInfo(args)
	case CodeSummary:
		return Summary{}, nil
	case CodeGetPendingMatchKeys:
		return GetPendingMatchKeys{}, nil
	}
	return nil, fmt.Errorf("%w %d", ErrUnknownCode, code)
}

// parseCode takes only a plain integer: the reference takes true and 1.0 as
// well, by accident of its language.
func parseCode(raw []byte) (Code, error) {
	n, err := strconv.ParseInt(string(raw), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: code %.40q is not an integer", ErrMessage, raw)
	}
	return Code(n), nil
}

func parseStop(args [][]byte) (Message, error) {
	if err := need(CodeStop, args, 1); err != nil {
		return nil, err
	}
	key, err := parseString("stop key", args[0])
	if err != nil {
		return nil, err
	}
	return Stop{Key: key}, nil
}

func parsePut(args [][]byte) (Message, error) {
	if err := need(CodePut, args, 2); err != nil {
		return nil, err
	}
	var pair [2][]byte
	n, err := splitArray(args[1], pair[:])
	if err != nil || n < len(pair) {
		return nil, fmt.Errorf("%w: PUT: value is not [port, match key]", ErrMessage)
	}
	var p Put
	if p.MatchKey, err = parseString("PUT: match key", pair[1]); err != nil {
		return nil, err
	}
	if p.Key, err = parseKeyOf(p.MatchKey, args[0]); err != nil {
		return nil, err
	}
	if p.Port, err = parsePort("PUT: port", pair[0]); err != nil {
		return nil, err
	}
	if len(args) > 2 && string(args[2]) != "null" {
		host, err := parseString("PUT: address", args[2])
		if err != nil {
			return nil, err
		}
		p.Host = &host
	}
	return p, nil
}

// parseKeyOf parses a device key. Nearly always it is the match key's prefix;
// then the two share their memory, of which a tracker keeps one per offer.
func parseKeyOf(matchKey string, raw []byte) (string, error) {
	if n := len(raw) - 2; n >= 0 && n <= len(matchKey) && raw[0] == '"' &&
		string(raw[1:n+1]) == matchKey[:n] && bytes.IndexByte(raw, '\\') < 0 {
		return matchKey[:n], nil
	}
	return parseString("PUT: key", raw)
}

func parseRequest(args [][]byte) (Message, error) {
	if err := need(CodeRequest, args, 3); err != nil {
		return nil, err
	}
	var r Request
	var err error
	if r.Key, err = parseString("REQUEST: key", args[0]); err != nil {
		return nil, err
	}
	if string(args[1]) != "null" {
		if r.User, err = parseString("REQUEST: user", args[1]); err != nil {
			return nil, err
		}
	}
	if r.Priority, err = parseNumber("REQUEST: priority", args[2]); err != nil {
		return nil, err
	}
	return r, nil
}

func parseUpdateInfo(args [][]byte) (Message, error) {
	if err := need(CodeUpdateInfo, args, 1); err != nil {
		return nil, err
	}
	info := make(map[string]json.RawMessage)
	err := eachMember(args[0], func(name string, value []byte) error {
		if len(info) >= maxInfoFields {
			return fmt.Errorf("%w: UPDATE_INFO: more than %d fields", ErrMessage, maxInfoFields)
		}
		// Each field is cloned by itself: one small field that lives on in the
		// tracker must not keep the whole frame.
		info[name] = bytes.Clone(value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("UPDATE_INFO: %w", err)
	}
	if err := checkInfo(info); err != nil {
		return nil, err
	}
	return UpdateInfo{Info: info}, nil
}

// checkInfo checks the fields that clients index without a check of their own.
func checkInfo(info map[string]json.RawMessage) error {
	if key, ok := info[FieldKey]; ok {
		if _, err := parseString("UPDATE_INFO: key", key); err != nil {
			return err
		}
	}
	addr, ok := info[FieldAddr]
	if !ok {
		return nil
	}
	var pair [2][]byte
	if n, err := splitArray(addr, pair[:]); err != nil || n < len(pair) {
		return fmt.Errorf("%w: UPDATE_INFO: addr is not [host, port]", ErrMessage)
	}
	if string(pair[0]) != "null" {
		if _, err := parseString("UPDATE_INFO: host", pair[0]); err != nil {
			return err
		}
	}
	_, err := parsePort("UPDATE_INFO: port", pair[1])
	return err
}

func need(c Code, args [][]byte, n int) error {
	if len(args) < n {
		return fmt.Errorf("%w: %s has %d elements, needs %d", ErrMessage, c, len(args)+1, n+1)
	}
	return nil
}

func parseString(what string, raw []byte) (string, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", fmt.Errorf("%w: %s %.40q is not a string", ErrMessage, what, raw)
	}
	return unquote(raw), nil
}

// parseNumber takes a finite JSON number.
func parseNumber(what string, raw []byte) (float64, error) {
	if len(raw) == 0 || raw[0] != '-' && !isDigit(raw[0]) {
		return 0, fmt.Errorf("%w: %s %.40q is not a number", ErrMessage, what, raw)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%w: %s %.40q is out of range", ErrMessage, what, raw)
	}
	return f, nil
}

// parsePort takes a number or a string, and keeps its text. That must be short
// and ASCII: then it is written as it came, and never becomes longer.
func parsePort(what string, raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 || raw[0] != '"' && raw[0] != '-' && !isDigit(raw[0]) {
		return nil, fmt.Errorf("%w: %s %.40q is neither a number nor a string", ErrMessage, what, raw)
	}
	if len(raw) > maxPort {
		return nil, fmt.Errorf("%w: %s is %d bytes long, at most %d are allowed", ErrMessage, what, len(raw), maxPort)
	}
	for _, c := range raw {
		if c >= utf8.RuneSelf {
			return nil, fmt.Errorf("%w: %s %.40q is not ASCII", ErrMessage, what, raw)
		}
	}
	return bytes.Clone(raw), nil
}
