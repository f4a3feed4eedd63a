package tvm

import (
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds how deeply arrays and objects may nest. A frame of 1 MiB
// could nest a million deep; the deepest stock message nests three.
const maxDepth = 128

// scanner walks over JSON text. It is stricter than the reference's parser and
// than encoding/json in two points, both because two texts must not mean the
// same key: an unpaired surrogate is an error, and so are NaN and Infinity.
type scanner struct {
	b []byte
	i int
}

// validJSON tells whether b is exactly one JSON value in UTF-8.
func validJSON(b []byte) bool {
	s := scanner{b: b}
	return utf8.Valid(b) && s.value(0) == nil && s.end() == nil
}

// splitArray checks that b is exactly one JSON array and stores the text of its
// first elements in dst. It returns how many were stored; the others are
// checked, but not kept. The texts alias b. The caller has checked UTF-8.
func splitArray(b []byte, dst [][]byte) (int, error) {
	s := scanner{b: b}
	if s.peek() != '[' {
		return 0, s.fail("an array")
	}
	n := 0
	err := s.array(0, func(raw []byte) error {
		if n < len(dst) {
			dst[n] = raw
			n++
		}
		return nil
	})
	if err == nil {
		err = s.end()
	}
	return n, err
}

// eachMember calls visit for every member of a JSON object; value aliases b.
func eachMember(b []byte, visit func(name string, value []byte) error) error {
	s := scanner{b: b}
	if s.peek() != '{' {
		return s.fail("an object")
	}
	err := s.object(0, func(name, value []byte) error { return visit(unquote(name), value) })
	if err == nil {
		err = s.end()
	}
	return err
}

func (s *scanner) fail(want string) error {
	if s.i >= len(s.b) {
		return fmt.Errorf("%w: ends at byte %d where %s is expected", ErrMessage, s.i, want)
	}
	return fmt.Errorf("%w: %q at byte %d where %s is expected", ErrMessage, s.b[s.i], s.i, want)
}

// peek skips white space and returns the next byte, or 0 at the end; 0 is not
// a byte that any JSON value starts with.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) end() error {
	if s.peek(); s.i < len(s.b) {
		return s.fail("the end")
	}
	return nil
}

// value moves over one value, which starts at most after white space.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '-' || isDigit(c):
		return s.number()
	case c == '[':
		return s.array(depth, nil)
	case c == '{':
		return s.object(depth, nil)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.fail("a value")
}

// array moves over an array; the caller has seen its bracket.
func (s *scanner) array(depth int, visit func(raw []byte) error) error {
	if depth >= maxDepth {
		return fmt.Errorf("%w: nested deeper than %d at byte %d", ErrMessage, maxDepth, s.i)
	}
	s.i++
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		s.peek()
		start := s.i
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if visit != nil {
			if err := visit(s.b[start:s.i]); err != nil {
				return err
			}
		}
		if done, err := s.next(']'); done || err != nil {
			return err
		}
	}
}

// object moves over an object; the caller has seen its brace. visit gets the
// name as JSON text.
func (s *scanner) object(depth int, visit func(name, value []byte) error) error {
	if depth >= maxDepth {
		return fmt.Errorf("%w: nested deeper than %d at byte %d", ErrMessage, maxDepth, s.i)
	}
	s.i++
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		name, value, err := s.member(depth)
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(name, value); err != nil {
				return err
			}
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

// member moves over `"name": value`.
func (s *scanner) member(depth int) (name, value []byte, err error) {
	if s.peek() != '"' {
		return nil, nil, s.fail("a member's name")
	}
	start := s.i
	if err := s.str(); err != nil {
		return nil, nil, err
	}
	name = s.b[start:s.i]
	if s.peek() != ':' {
		return nil, nil, s.fail("':'")
	}
	s.i++
	s.peek()
	start = s.i
	if err := s.value(depth + 1); err != nil {
		return nil, nil, err
	}
	return name, s.b[start:s.i], nil
}

// next moves over a comma (done is false) or the closing byte (done is true).
func (s *scanner) next(closing byte) (done bool, err error) {
	switch s.peek() {
	case ',':
		s.i++
		return false, nil
	case closing:
		s.i++
		return true, nil
	}
	return false, s.fail(fmt.Sprintf("',' or %q", closing))
}

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fail(word)
	}
	s.i += len(word)
	return nil
}

// number moves over a number of JSON's grammar: no leading zeros, no bare point.
func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return s.fail("a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.fail("a digit")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.fail("a digit")
		}
	}
	return nil
}

// digits moves over digits and tells whether there was any.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && isDigit(s.b[s.i]) {
		s.i++
	}
	return s.i > start
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
