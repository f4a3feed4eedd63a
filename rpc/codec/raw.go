package codec

import "fmt"

// Raw is the codec of bytes: the body is the value.
type Raw struct{}

// ID returns [IDRaw].
func (Raw) ID() uint8 { return IDRaw }

// Name returns "raw".
func (Raw) Name() string { return "raw" }

// Append appends a []byte, a string, or what a pointer to one points to.
func (Raw) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	case *[]byte:
		if v != nil {
			return append(dst, *v...), nil
		}
	case *string:
		if v != nil {
			return append(dst, *v...), nil
		}
	}
	return dst, fmt.Errorf("raw codec: %T is neither bytes nor a string", v)
}

// Decode copies data into a *[]byte, whose capacity is used, or a *string.
func (Raw) Decode(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		if v != nil {
			*v = append((*v)[:0], data...)
			return nil
		}
	case *string:
		if v != nil {
			*v = string(data)
			return nil
		}
	}
	return fmt.Errorf("raw codec: %T is not a pointer to bytes or to a string", v)
}
