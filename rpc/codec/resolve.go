package codec

import (
	"encoding"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// resolver finds the shape of one type and of all that it is made of.
type resolver struct {
	codecs *Codecs
	root   reflect.Type
	open   []reflect.Type // from root to where we are
	done   map[reflect.Type]*shape
}

func (r *resolver) refuse(path, format string, args ...any) error {
	return &TypeError{Type: r.root, Path: path, Why: fmt.Sprintf(format, args...)}
}

func (r *resolver) resolve(t reflect.Type, path string) (*shape, error) {
	for i, o := range r.open {
		if o == t {
			return r.recursive(i, t, path)
		}
	}
	if s := r.done[t]; s != nil {
		return s, nil
	}
	leaf, err := r.leaf(t, path)
	if leaf || err != nil {
		return &shape{}, err
	}
	s := &shape{}
	r.done[t] = s
	r.open = append(r.open, t)
	err = r.fill(s, t, path)
	r.open = r.open[:len(r.open)-1]
	return s, err
}

// recursive is the end of a circle that begins at r.open[i]. The library needs a
// struct in it, at which it stops to look at types.
func (r *resolver) recursive(i int, t reflect.Type, path string) (*shape, error) {
	for _, o := range r.open[i:] {
		if o.Kind() == reflect.Struct {
			r.done[t].deep = true
			return r.done[t], nil
		}
	}
	return nil, r.refuse(path, "%v consists of itself, with no struct in between, and cannot be marshalled", t)
}

// leaf says whether values of a type marshal themselves, or the library knows it.
func (r *resolver) leaf(t reflect.Type, path string) (bool, error) {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false, nil
	}
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[big.Int](), reflect.TypeFor[BlobRef](),
		reflect.TypeFor[cbor.RawMessage](), reflect.TypeFor[cbor.SimpleValue](), reflect.TypeFor[cbor.ByteString]():
		return true, nil
	}
	p := reflect.PointerTo(t)
	if isProto(p) {
		return false, r.refuse(path, "protobuf message %v cannot be marshalled inside of another type", t)
	}
	for _, how := range [...]struct{ out, in reflect.Type }{
		{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()},
		{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	} {
		switch out, in := p.Implements(how.out), p.Implements(how.in); {
		case out && in:
			return true, nil
		case out != in:
			return false, r.refuse(path, "%v has only one of %v and %v", t, how.out, how.in)
		}
	}
	return false, nil
}

func (r *resolver) fill(s *shape, t reflect.Type, path string) error {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Pointer:
		return r.fillElem(s, t, path)
	case reflect.Slice, reflect.Array:
		return r.fillElem(s, t, path+"[]")
	case reflect.Map:
		dynamic := t.Key() == reflect.TypeFor[any]()
		if !dynamic && !keyType(t.Key()) {
			return r.refuse(path, "%v cannot be the key of a map", t.Key())
		}
		s.deep = dynamic // its keys are to be looked at
		return r.fillElem(s, t, path+"[]")
	case reflect.Interface:
		s.deep = true
		return r.fillInterface(t, path)
	case reflect.Struct:
		return r.fillStruct(s, t, path)
	}
	return r.refuse(path, "%v cannot be marshalled", t)
}

func (r *resolver) fillElem(s *shape, t reflect.Type, path string) error {
	elem, err := r.resolve(t.Elem(), path)
	if err != nil {
		return err
	}
	s.elem = elem
	s.deep = s.deep || elem.deep
	return nil
}

func (r *resolver) fillInterface(t reflect.Type, path string) error {
	if t.NumMethod() == 0 {
		return nil
	}
	for _, c := range r.codecs.concrete {
		if c.Implements(t) {
			return nil
		}
	}
	return r.refuse(path, "interface %v has methods, and no concrete type for it is registered", t)
}

// keyType says whether keys of a type come back equal to themselves. Floats do
// not: NaN.
func keyType(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Array:
		return t.Elem().Kind() == reflect.Uint8
	}
	return false
}

func canBeKey(key reflect.Value) bool { return key.IsValid() && keyType(key.Type()) }

func (r *resolver) fillStruct(s *shape, t reflect.Type, path string) error {
	s.tagged = r.codecs.isConcrete(t)
	exported := 0
	for i := range t.NumField() {
		f := t.Field(i)
		if skipped(f.Tag) {
			exported++ // the author has thought about it
			continue
		}
		embedded := f.Anonymous && indirect(f.Type).Kind() == reflect.Struct
		if !f.IsExported() && !embedded {
			continue
		}
		exported++
		where := path + "." + f.Name
		if !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			return r.refuse(where, "embedded pointer to the unexported %v cannot be set", f.Type.Elem())
		}
		elem, err := r.resolve(f.Type, where)
		if err != nil {
			return err
		}
		if elem.deep {
			s.deep = true
			s.fields = append(s.fields, field{i, f.Name, elem})
		}
	}
	if exported == 0 && t.NumField() > 0 {
		return r.refuse(path, "%v has no exported fields", t)
	}
	return nil
}

func (c *Codecs) isConcrete(t reflect.Type) bool {
	for _, p := range c.concrete {
		if p.Elem() == t {
			return true
		}
	}
	return false
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// skipped says whether the library leaves a field out.
func skipped(tag reflect.StructTag) bool {
	s, ok := tag.Lookup("cbor")
	if !ok {
		s = tag.Get("json")
	}
	return strings.TrimSpace(s) == "-"
}
