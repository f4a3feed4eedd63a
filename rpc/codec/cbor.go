package codec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

const (
	// TagBlob is the CBOR tag of a [BlobRef]: "RPCB" in ASCII. It is in the range
	// that is first come, first served, and is not registered.
	TagBlob = 0x52504342
	// MaxNesting is how deep arrays, maps and structs may contain each other.
	MaxNesting = 256
	// MaxElements bounds one array that is received.
	MaxElements = 16 << 20
	// MaxPairs bounds one map that is received.
	MaxPairs = 1 << 20

	maxLevels = 2*MaxNesting + 2 // of what is received: each level may have a tag
)

// BlobRef refers to a blob. This package does not look into it.
type BlobRef []byte

// CBOR is the codec of Go values and of calls by name. [Codecs] has one.
type CBOR struct {
	modes
	types    *Codecs
	buffers  sync.Pool // of *bytes.Buffer, without memory of their own
	scanners sync.Pool // of *scanner
}

// modes are the two directions.
type modes struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

func newModes(concrete []Concrete) (modes, error) {
	tags, err := newTags(concrete)
	if err != nil {
		return modes{}, err
	}
	e := cbor.CoreDetEncOptions()
	e.Time, e.TimeTag = cbor.TimeRFC3339Nano, cbor.EncTagRequired
	e.ByteArray = cbor.ByteArrayToByteSlice
	enc, err := e.UserBufferEncModeWithTags(tags)
	if err != nil {
		return modes{}, fmt.Errorf("cbor codec: %w", err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		MaxNestedLevels:   maxLevels,
		MaxArrayElements:  MaxElements,
		MaxMapPairs:       MaxPairs,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		BigIntDec:         cbor.BigIntDecodeValue, // a pointer could be a key, and equal to no other
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecModeWithTags(tags)
	if err != nil {
		return modes{}, fmt.Errorf("cbor codec: %w", err)
	}
	return modes{enc, dec}, nil
}

func newTags(concrete []Concrete) (cbor.TagSet, error) {
	tags := cbor.NewTagSet()
	always := cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}
	if err := tags.Add(always, reflect.TypeFor[BlobRef](), TagBlob); err != nil {
		return nil, fmt.Errorf("cbor codec: %w", err)
	}
	for _, c := range concrete {
		t := reflect.TypeOf(c.Value)
		if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("cbor codec: concrete type %v with tag %d is not a pointer to a struct", t, c.Tag)
		}
		if err := tags.Add(always, t.Elem(), c.Tag); err != nil {
			return nil, fmt.Errorf("cbor codec: concrete type %v with tag %d: %w", t, c.Tag, err)
		}
	}
	return tags, nil
}

// ID returns [IDCBOR].
func (*CBOR) ID() uint8 { return IDCBOR }

// Name returns "cbor".
func (*CBOR) Name() string { return "cbor" }

// Append appends v. It fails with a [*TypeError], or with [ErrCycle] or
// [ErrNesting] wrapped.
func (c *CBOR) Append(dst []byte, v any) ([]byte, error) {
	if v != nil {
		s := c.types.shapeOf(reflect.TypeOf(v))
		if s.err != nil {
			return dst, s.err
		}
		if err := c.types.checkValue(s, v); err != nil {
			return dst, err
		}
	}
	return c.encode(dst, v)
}

// encode appends what has been checked.
func (c *CBOR) encode(dst []byte, v any) ([]byte, error) {
	b, _ := c.buffers.Get().(*bytes.Buffer)
	if b == nil {
		b = new(bytes.Buffer)
	}
	*b = *bytes.NewBuffer(dst)
	err := c.enc.MarshalToBuffer(v, b)
	out := b.Bytes()
	*b = bytes.Buffer{}
	c.buffers.Put(b)
	if err != nil {
		return dst, fmt.Errorf("cbor codec: encode %T: %w", v, err)
	}
	return out, nil
}

// Decode sets what v points to. data must hold exactly one value. Fields of v
// that data does not mention stay as they are.
func (c *CBOR) Decode(data []byte, v any) error {
	if err := c.scan(data); err != nil {
		return fmt.Errorf("cbor codec: decode %T: %w", v, err)
	}
	return c.decode(data, v)
}

func (c *CBOR) scan(data []byte) error {
	s, _ := c.scanners.Get().(*scanner)
	if s == nil {
		s = new(scanner)
	}
	err := s.scan(data)
	s.b = nil
	c.scanners.Put(s)
	return err
}

// decode decodes what has been scanned.
func (c *CBOR) decode(data []byte, v any) (err error) {
	defer func() { // a type's own UnmarshalCBOR may be wrong
		if r := recover(); r != nil {
			err = fmt.Errorf("cbor codec: decode %T: %v", v, r)
		}
	}()
	if err := c.dec.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cbor codec: decode %T: %w", v, err)
	}
	return nil
}

var (
	// ErrCycle is why a value that contains itself is refused.
	ErrCycle = errors.New("contains itself")
	// ErrNesting is why a value that is deeper than [MaxNesting] is refused.
	ErrNesting = fmt.Errorf("is nested deeper than %d", MaxNesting)
)
