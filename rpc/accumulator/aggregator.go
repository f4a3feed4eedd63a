package accumulator

import (
	"encoding"
	"fmt"
	"maps"
	"math/bits"
)

// Aggregator is what was gathered of the values of one accumulator: in a shard of
// a client, in a batch, or at the server. The zero value of what a pointer of the
// type points to must be the one that has gathered nothing. Merging must not
// depend on order or grouping. What it takes in memory must be bounded, whatever is merged.
type Aggregator interface {
	// Merge adds what another of the same type has gathered, and keeps nothing of
	// it. If it fails, it has changed nothing.
	Merge(other Aggregator) error
	// AppendBinary appends what UnmarshalBinary reads: at most [MaxState] bytes.
	encoding.BinaryAppender
	// UnmarshalBinary must withstand any bytes: they come from the network. It
	// keeps nothing of them.
	encoding.BinaryUnmarshaler
}

// Names of the types that are built in.
const (
	TypeSum      = "sum"      // [Sum]
	TypeFloatSum = "floatsum" // [FloatSum]
	TypeAvg      = "avg"      // [Avg]
	TypeMax      = "max"      // [Max]
	TypeMin      = "min"      // [Min]
	TypeTimer    = "timer"    // [Timer]
)

// Types says how to make an empty aggregator of a type, by the type's name.
type Types map[string]func() Aggregator

// New returns an empty aggregator. It is what [Types] wants:
//
//	accumulator.Types{"app.set": accumulator.New[Set]}
func New[S any, P pointer[S]]() Aggregator { return P(new(S)) }

// pointer is the pointer to an aggregator's struct.
type pointer[S any] interface {
	*S
	Aggregator
}

func builtin() Types {
	return Types{
		TypeSum:      New[Sum],
		TypeFloatSum: New[FloatSum],
		TypeAvg:      New[Avg],
		TypeMax:      New[Max],
		TypeMin:      New[Min],
		TypeTimer:    New[Timer],
	}
}

// with returns the built-in types and custom ones.
func (t Types) with(custom Types) (Types, error) {
	all := maps.Clone(t)
	for name, create := range custom {
		if err := checkText("type", name, MaxType, false); err != nil {
			return nil, err
		}
		if all[name] != nil || create == nil {
			return nil, fmt.Errorf("type %q cannot be registered: it is built in, or cannot be made", name)
		}
		all[name] = create
	}
	return all, nil
}

// decode makes an aggregator of what one of the same type has appended.
func (t Types) decode(typ string, state []byte) (Aggregator, error) {
	create := t[typ]
	if create == nil {
		return nil, fmt.Errorf("%w: type %q is not known here", ErrType, typ)
	}
	a := create()
	if err := a.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("state of type %q: %w", typ, err)
	}
	return a, nil
}

// plus adds counts. That they do not wrap holds a peer to it that claims too much.
func plus(a, b uint64) (uint64, error) {
	sum, over := bits.Add64(a, b, 0)
	if over != 0 {
		return 0, limitf("there were %d values and %d more", a, b)
	}
	return sum, nil
}

// same casts the other side of a Merge.
func same[P Aggregator](a Aggregator) (P, error) {
	p, ok := a.(P)
	if !ok {
		return p, fmt.Errorf("%w: %T and %T cannot be merged", ErrType, p, a)
	}
	return p, nil
}
