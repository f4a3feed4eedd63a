package tvm

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string as the reference writes it: everything
// outside of printable ASCII as \uXXXX, and nothing else escaped that need not
// be, because peers look for match keys in the raw text. Bytes that are not
// UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain(c) {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		if c < utf8.RuneSelf {
			dst = appendEscape(dst, c)
			i++
		} else {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = appendRuneEscape(dst, r)
			i += n
		}
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plain tells whether a byte stands for itself inside a JSON string of ours.
func plain(c byte) bool {
	return c >= ' ' && c <= '~' && c != '"' && c != '\\'
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	}
	return appendUnit(dst, rune(c))
}

// appendRuneEscape appends \uXXXX, or two of them for a rune beyond U+FFFF.
func appendRuneEscape(dst []byte, r rune) []byte {
	if r > 0xFFFF {
		r -= 0x10000
		dst = appendUnit(dst, 0xD800+(r>>10))
		r = 0xDC00 + (r & 0x3FF)
	}
	return appendUnit(dst, r)
}

func appendUnit(dst []byte, u rune) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12&15], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// appendRaw appends JSON text verbatim but in ASCII, or null if it is not JSON.
func appendRaw(dst []byte, raw json.RawMessage) []byte {
	dst, _ = appendChecked(dst, raw)
	return dst
}

// appendChecked is appendRaw that tells whether raw is JSON.
func appendChecked(dst []byte, raw json.RawMessage) ([]byte, bool) {
	if !validJSON(raw) {
		return append(dst, "null"...), false
	}
	return appendASCII(dst, raw), true
}

// appendASCII escapes what is not ASCII in valid JSON text: there it can only
// stand inside of strings.
func appendASCII(dst, raw []byte) []byte {
	start := 0
	for i := 0; i < len(raw); {
		if raw[i] < utf8.RuneSelf {
			i++
			continue
		}
		dst = append(dst, raw[start:i]...)
		r, n := utf8.DecodeRune(raw[i:])
		dst = appendRuneEscape(dst, r)
		i += n
		start = i
	}
	return append(dst, raw[start:]...)
}

// appendNumber appends a finite number in the shortest form that reads back as
// the same float64; whole numbers without a point.
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		f = 0
	case math.IsInf(f, 0):
		f = math.Copysign(math.MaxFloat64, f)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// appendInfo appends an object of verbatim fields: key and addr first, as the
// reference's peers write them, then the others sorted, so that the same fields
// always give the same bytes. It is not ok if a field is not JSON; such a field
// is written as null, and the first one is named.
func appendInfo(dst []byte, info map[string]json.RawMessage) (out []byte, bad string, ok bool) {
	var few [16]string
	names := few[:0]
	for name := range info {
		names = append(names, name)
	}
	slices.SortFunc(names, compareFields)
	dst, ok = append(dst, '{'), true
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendString(dst, name), ": "...)
		var isJSON bool
		dst, isJSON = appendChecked(dst, info[name])
		if ok && !isJSON {
			bad, ok = name, false
		}
	}
	return append(dst, '}'), bad, ok
}

// compareFields orders "key", then "addr", then the rest by name.
func compareFields(a, b string) int {
	return cmp.Or(cmp.Compare(fieldRank(a), fieldRank(b)), strings.Compare(a, b))
}

func fieldRank(name string) int {
	switch name {
	case FieldKey:
		return 0
	case FieldAddr:
		return 1
	}
	return 2
}
