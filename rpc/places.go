package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// Given is a promise that is kept: so a struct with promises in its fields has values there, too.
func Given[R any](r R) Promise[R] {
	f := &Future[R]{done: make(chan struct{}), r: r}
	close(f.done)
	return Promise[R]{f}
}

// Get waits for what is promised. A handler has promises in the fields of its arguments only
// when they are kept.
func (p Promise[R]) Get(ctx context.Context) (R, error) {
	if p.f == nil {
		var none R
		return none, errors.New("promise of nobody")
	}
	return p.f.Get(ctx)
}

// MarshalCBOR implements [cbor.Marshaler]: what is not there yet is a place, with the number of
// the future in it, until [Client.encode] has found whose it is.
func (p Promise[R]) MarshalCBOR() ([]byte, error) {
	if p.f == nil {
		return nil, errors.New("promise of nobody")
	}
	select {
	case <-p.f.done:
		if p.f.err != nil {
			return nil, p.f.err
		}
		return cbor.Marshal(p.f.r) //nolint:wrapcheck // the codec says where
	default:
	}
	b := codec.AppendPlace(nil, false)
	return binary.BigEndian.AppendUint64(append(b[:len(b)-1], uint64Head), p.f.number), nil
}

const uint64Head = 0x1b

// UnmarshalCBOR implements [cbor.Unmarshaler]: what arrives is kept.
func (p *Promise[R]) UnmarshalCBOR(b []byte) error {
	var r R
	if err := cbor.Unmarshal(b, &r); err != nil {
		return err //nolint:wrapcheck // the codec says where
	}
	*p = Given(r)
	return nil
}

// promising has the types of arguments, and whether they may have promises in them.
type promising struct{ types sync.Map }

// in returns the promises in a value. A type that has none costs a look into a table.
func (p *promising) in(args any) []origin {
	if args == nil {
		return nil
	}
	t := reflect.TypeOf(args)
	has, known := p.types.Load(t)
	if !known {
		has = mayPromise(t, map[reflect.Type]bool{})
		p.types.Store(t, has)
	}
	if has != true {
		return nil
	}
	return findPromises(reflect.ValueOf(args), nil, 0)
}

// mayPromise tells whether values of a type may have promises in them. What is in an interface
// is not known, but for arguments of no type of their own: lists and maps of anything.
func mayPromise(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t.Implements(reflect.TypeFor[promised]()) || t == reflect.TypeFor[any]() {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return mayPromise(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() && mayPromise(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// findPromises goes into what the codec goes into, not deeper.
func findPromises(v reflect.Value, found []origin, depth int) []origin {
	if !v.IsValid() || depth > codec.MaxNesting {
		return found
	}
	if v.CanInterface() {
		if p, ok := v.Interface().(promised); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			return append(found, p.origin())
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return findPromises(v.Elem(), found, depth+1)
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k < reflect.Array { // numbers, bytes
			return found
		}
		for i := range v.Len() {
			found = findPromises(v.Index(i), found, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			found = findPromises(it.Value(), found, depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				found = findPromises(v.Field(i), found, depth+1)
			}
		}
	}
	return found
}

var errForeign = errors.New("place for a result that no promise of theirs is for")

// encodePlaces encodes arguments that have promises in them: of those that are open at this
// client, the places are left for the results.
func (c *Client) encodePlaces(u *client.Call, args any, all []origin) error {
	if err := c.encodeWhole(u, args); err != nil {
		return err
	}
	open := map[uint64]origin{}
	for _, o := range all {
		open[o.id()] = o
	}
	body := make([]byte, 0, len(u.Args))
	for from := 0; ; {
		at, err := codec.Place(u.Args, from)
		if err != nil || at < 0 {
			u.Args = append(body, u.Args[from:]...)
			return err //nolint:wrapcheck // it cannot be
		}
		const placed = 1 + 4 + 1 + 8 // with the future's number
		var o origin
		if len(u.Args)-at >= placed {
			o = open[binary.BigEndian.Uint64(u.Args[at+placed-8:])]
		}
		if o == nil {
			return errForeign
		}
		if body, err = c.place(u, append(body, u.Args[from:at]...), o); err != nil {
			return err
		}
		from = at + placed
	}
}

// place appends the place of a promise to a call's arguments.
func (c *Client) place(u *client.Call, body []byte, o origin) ([]byte, error) {
	if len(u.Needs) == session.MaxNeeds {
		return body, fmt.Errorf("more than %d promises that are not kept", session.MaxNeeds)
	}
	k, err := c.codecs.For(o.resultType())
	if err != nil {
		return body, err //nolint:wrapcheck // the codec says all
	}
	if k.ID() == codec.IDProto {
		return body, fmt.Errorf("promise of a %v cannot be part of other arguments", o.resultType())
	}
	pr := o.at(c)
	if pr == nil { // it has come meanwhile
		<-o.ended()
		return c.inPlace(body, o)
	}
	before, others, at := u.Cause, u.Whole, len(u.Needs)
	u.Needs = append(u.Needs, pr)
	u.Whole = func(i int) ([]byte, error) {
		if i == at {
			return whole(o, k)
		}
		return others(i)
	}
	u.Cause = func() error {
		if before != nil {
			if err := before(); err != nil {
				return err
			}
		}
		return causeOf(o, pr)
	}
	return codec.AppendPlace(body, k.ID() == codec.IDRaw), nil
}

// inPlace appends a result that is there.
func (c *Client) inPlace(body []byte, o origin) ([]byte, error) {
	v, err := o.outcome()
	if err != nil {
		return body, err
	}
	return c.codecs.CBOR().Append(body, v) //nolint:wrapcheck // the codec says all
}
