package tvm

import (
	"bytes"
	"unicode/utf8"
)

// str moves over a string; the caller has seen its opening quote.
func (s *scanner) str() error {
	s.i++
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < ' ':
			return s.fail("a printable character")
		default:
			s.i++
		}
	}
	return s.fail("'\"'")
}

// escape moves over one escape sequence, or over the two of a surrogate pair.
func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		s.i = len(s.b)
		return s.fail("an escape sequence")
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
		if _, n := codePoint(s.b[s.i:]); n > 0 {
			s.i += n
			return nil
		}
	}
	return s.fail("an escape sequence")
}

// codePoint reads \uXXXX, or two of them that make a surrogate pair, and
// returns the code point and the length of what it read: 0 if it is malformed
// or an unpaired surrogate.
func codePoint(b []byte) (r rune, n int) {
	r, ok := codeUnit(b)
	switch {
	case !ok || r >= 0xDC00 && r < 0xE000:
		return 0, 0
	case r < 0xD800 || r >= 0xE000:
		return r, 6
	}
	low, ok := codeUnit(b[6:])
	if !ok || low < 0xDC00 || low >= 0xE000 {
		return 0, 0
	}
	return 0x10000 + (r-0xD800)<<10 + (low - 0xDC00), 12
}

// codeUnit reads \uXXXX.
func codeUnit(b []byte) (u rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		var d byte
		switch {
		case isDigit(c):
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, false
		}
		u = u<<4 | rune(d)
	}
	return u, true
}

// unquote returns what a JSON string says. The scanner has checked its text.
func unquote(raw []byte) string {
	raw = raw[1 : len(raw)-1]
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for ; i >= 0; i = bytes.IndexByte(raw, '\\') {
		out = append(out, raw[:i]...)
		n := 2
		switch c := raw[i+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			var r rune
			r, n = codePoint(raw[i:])
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		raw = raw[i+n:]
	}
	return string(append(out, raw...))
}
