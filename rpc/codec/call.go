package codec

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Items are values of any types, each still encoded: the arguments of a call by
// name, or its results. On the wire they are one array.
type Items struct {
	cbor *CBOR
	raw  []cbor.RawMessage
}

// Call is a call by name, without generated code: ["name", argument…].
type Call struct {
	Name string
	Args Items
}

// AppendCall appends a call by name.
func (c *CBOR) AppendCall(dst []byte, name string, args ...any) ([]byte, error) {
	return c.Append(dst, append([]any{name}, args...))
}

// AppendItems appends values as one array: the results of a call by name.
func (c *CBOR) AppendItems(dst []byte, items ...any) ([]byte, error) {
	return c.Append(dst, append([]any{}, items...))
}

// DecodeCall takes a call apart. Its arguments are decoded when their types are
// known.
func (c *CBOR) DecodeCall(data []byte) (Call, error) {
	items, err := c.DecodeItems(data)
	if err != nil {
		return Call{}, fmt.Errorf("call by name: %w", err)
	}
	if items.Len() == 0 {
		return Call{}, fmt.Errorf("call by name: has no name")
	}
	call := Call{Args: Items{c, items.raw[1:]}}
	if err := c.decode(items.raw[0], &call.Name); err != nil {
		return Call{}, fmt.Errorf("call by name: name: %w", err)
	}
	if call.Name == "" {
		return Call{}, fmt.Errorf("call by name: name is empty")
	}
	return call, nil
}

// DecodeItems takes an array apart.
func (c *CBOR) DecodeItems(data []byte) (Items, error) {
	items := Items{cbor: c}
	if len(data) == 0 || data[0]>>5 != 4 {
		return Items{}, fmt.Errorf("cbor codec: not an array")
	}
	return items, c.Decode(data, &items.raw)
}

// Len returns the number of items.
func (it Items) Len() int { return len(it.raw) }

// Decode sets what the pointers in into point to. There must be one for each
// item.
func (it Items) Decode(into ...any) error {
	if len(into) != len(it.raw) {
		return fmt.Errorf("cbor codec: %d items, %d are wanted", len(it.raw), len(into))
	}
	for i, v := range into {
		if err := it.cbor.decode(it.raw[i], v); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

// Values decodes every item as what it is.
func (it Items) Values() ([]any, error) {
	values := make([]any, len(it.raw))
	for i := range values {
		if err := it.cbor.decode(it.raw[i], &values[i]); err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
	}
	return values, nil
}
