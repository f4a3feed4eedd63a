package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// maxDigits bounds integers in JSON: beyond, decimal conversion is slow.
const maxDigits = 4096

// What JSON has no word for is an object with one of these as its only key. A
// key of a map that begins with $ gets another $ in front.
const (
	keyBytes = "$bytes" // base64 of a byte string
	keyBlob  = "$blob"  // base64 of a blob reference
	keyTime  = "$time"  // RFC 3339
	keyFloat = "$float" // NaN, Infinity, -Infinity
)

// ToJSON appends as JSON text what is CBOR. It loses nothing that [CBOR.FromJSON]
// makes; integer keys of maps become text, and unknown tags are refused.
func (c *CBOR) ToJSON(dst, data []byte) ([]byte, error) {
	var v any
	if err := c.Decode(data, &v); err != nil {
		return dst, err
	}
	v, err := toJSON(v)
	if err != nil {
		return dst, fmt.Errorf("json: %w", err)
	}
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return dst, fmt.Errorf("json: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func toJSON(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, int64:
		return v, nil
	case big.Int:
		return bigToJSON(&v)
	case float64:
		return floatToJSON(v), nil
	case []byte:
		return map[string]any{keyBytes: base64.StdEncoding.EncodeToString(v)}, nil
	case BlobRef:
		return map[string]any{keyBlob: base64.StdEncoding.EncodeToString(v)}, nil
	case time.Time:
		return map[string]any{keyTime: v.Format(time.RFC3339Nano)}, nil
	case []any:
		return listToJSON(v)
	case map[any]any:
		return mapToJSON(v)
	}
	return nil, fmt.Errorf("%T has no form in JSON", v)
}

func bigToJSON(v *big.Int) (any, error) {
	if v.BitLen() > maxDigits*3 {
		return nil, fmt.Errorf("integer of %d bits is too long", v.BitLen())
	}
	return json.RawMessage(v.String()), nil
}

// floatToJSON writes a point or an exponent, so that it is no integer.
func floatToJSON(f float64) any {
	switch {
	case math.IsNaN(f):
		return map[string]any{keyFloat: "NaN"}
	case math.IsInf(f, 0):
		return map[string]any{keyFloat: map[bool]string{true: "Infinity", false: "-Infinity"}[f > 0]}
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.RawMessage(text)
}

func listToJSON(list []any) (any, error) {
	for i := range list {
		var err error
		if list[i], err = toJSON(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func mapToJSON(m map[any]any) (any, error) {
	out := make(map[string]any, len(m))
	for k, v := range m {
		key, err := keyToJSON(k)
		if err != nil {
			return nil, err
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("key %q is there as text and as an integer", key)
		}
		if out[key], err = toJSON(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func keyToJSON(k any) (string, error) {
	switch k := k.(type) {
	case string:
		if strings.HasPrefix(k, "$") {
			return "$" + k, nil
		}
		return k, nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	}
	return "", fmt.Errorf("key of type %T has no form in JSON", k)
}
