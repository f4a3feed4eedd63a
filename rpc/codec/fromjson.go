package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// FromJSON appends as CBOR what is JSON text. Numbers are exact: those without a
// point or an exponent are integers of any length, all others float64. Duplicate
// keys, text that is not UTF-8 and unknown keys that begin with $ are refused.
func (c *CBOR) FromJSON(dst, text []byte) ([]byte, error) {
	v, err := parseJSON(text)
	if err != nil {
		return dst, fmt.Errorf("json: %w", err)
	}
	return c.Append(dst, v)
}

func parseJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more than one value, the second at byte %d", d.InputOffset())
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > MaxNesting {
		return nil, ErrNesting
	}
	token, err := d.Token()
	if err != nil {
		return nil, noEOF(err)
	}
	switch t := token.(type) {
	case json.Number:
		return parseNumber(t.String())
	case json.Delim:
		if t == '[' {
			return parseList(d, depth)
		}
		return parseObject(d, depth)
	}
	return token, nil // nil, bool, string
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parseNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("number %.40s does not fit into a float64", s)
		}
		return f, nil
	}
	if len(s) > maxDigits {
		return nil, fmt.Errorf("integer of %d digits is too long", len(s))
	}
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("number %.40s is malformed", s)
	}
	return i, nil
}

func parseList(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, noEOF(err)
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, noEOF(err)
		}
		key, _ := token.(string)
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("key %q is there twice", key)
		}
		if m[key], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, noEOF(err)
	}
	return parseSpecial(m)
}

// parseSpecial takes the $ off keys, or makes of an object what it stands for.
func parseSpecial(m map[string]any) (any, error) {
	plain := make(map[string]any, len(m))
	for k, v := range m {
		switch {
		case !strings.HasPrefix(k, "$"):
			plain[k] = v
		case strings.HasPrefix(k, "$$"):
			plain[k[1:]] = v
		case len(m) > 1:
			return nil, fmt.Errorf("key %q is not alone; a key that begins with $ is written with two", k)
		default:
			return parseOne(k, v)
		}
	}
	return plain, nil
}

func parseOne(key string, v any) (any, error) {
	text, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("value of %q is not a string", key)
	}
	switch key {
	case keyBytes, keyBlob:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("value of %q: %w", key, err)
		}
		if key == keyBlob {
			return BlobRef(b), nil
		}
		return b, nil
	case keyTime:
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("value of %q: %w", key, err)
		}
		return t, nil
	case keyFloat:
		f, ok := map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[text]
		if ok {
			return f, nil
		}
		return nil, fmt.Errorf("value %q of %q is not NaN, Infinity or -Infinity", text, key)
	}
	return nil, fmt.Errorf("key %q is not known; a key that begins with $ is written with two", key)
}
