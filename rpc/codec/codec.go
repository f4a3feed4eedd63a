package codec

import (
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/proto"
)

// Ids of codecs. They are part of the wire.
const (
	IDRaw uint8 = iota
	IDProto
	IDCBOR
	ids
)

// Codec turns values into bytes and back. All codecs may be used by many
// goroutines.
type Codec interface {
	// ID is the codec's number on the wire.
	ID() uint8
	// Name is for people and metrics.
	Name() string
	// Append appends the bytes of v. After an error nothing is appended.
	Append(dst []byte, v any) ([]byte, error)
	// Decode sets what v points to. Nothing of v points into data afterwards.
	// After an error, v may be filled in part.
	Decode(data []byte, v any) error
}

// Options of [New].
type Options struct {
	// Concrete lists the types that an interface with methods may hold. Both
	// sides of a call need the same list.
	Concrete []Concrete
}

// Concrete says that a type may be the value of an interface.
type Concrete struct {
	Tag   uint64 // CBOR tag that says the type on the wire
	Value any    // pointer to a struct; an interface holds such a pointer after decoding
}

// Codecs are the codecs that a client or a server uses.
type Codecs struct {
	byID     [ids]Codec
	cbor     *CBOR
	concrete []reflect.Type // pointers to structs
	shapes   sync.Map       // reflect.Type → *shape
}

// New returns codecs. It fails if the concrete types cannot be marshalled, or
// two of them have one tag.
func New(o Options) (*Codecs, error) {
	c := &Codecs{}
	modes, err := newModes(o.Concrete)
	if err != nil {
		return nil, err
	}
	c.cbor = &CBOR{modes: modes, types: c}
	c.byID = [ids]Codec{Raw{}, Proto{}, c.cbor}
	for _, k := range o.Concrete {
		c.concrete = append(c.concrete, reflect.TypeOf(k.Value))
	}
	for _, t := range c.concrete {
		if err := c.shapeOf(t).err; err != nil {
			return nil, err
		}
	}
	return c, nil
}

// CBOR returns the codec for calls by name and for every type that has no codec
// of its own.
func (c *Codecs) CBOR() *CBOR { return c.cbor }

// ByID returns the codec that a message says it has.
func (c *Codecs) ByID(id uint8) (Codec, error) {
	if id >= ids {
		return nil, fmt.Errorf("codec %d is not known", id)
	}
	return c.byID[id], nil
}

// Mask returns the set of codecs as HELLO says it: bit n is codec n.
func (c *Codecs) Mask() uint64 { return 1<<ids - 1 }

// For returns the codec of a type, or a [*TypeError] that says which field
// cannot be marshalled. t is the type of the value or a pointer to it.
func (c *Codecs) For(t reflect.Type) (Codec, error) {
	switch {
	case t == nil:
		return nil, &TypeError{Path: "nil", Why: "has no type"}
	case t == reflect.TypeFor[[]byte]() || t == reflect.TypeFor[*[]byte]():
		return c.byID[IDRaw], nil
	case isProto(t) || isProto(reflect.PointerTo(t)):
		return c.byID[IDProto], nil
	}
	if err := c.shapeOf(t).err; err != nil {
		return nil, err
	}
	return c.cbor, nil
}

func isProto(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Implements(reflect.TypeFor[proto.Message]())
}
