package codec

import (
	"fmt"
	"reflect"
)

// TypeError says why a type cannot be marshalled.
type TypeError struct {
	Type reflect.Type // that was to be marshalled
	Path string       // to what is wrong: Job.Steps[].Done
	Why  string
}

// Error implements error.
func (e *TypeError) Error() string {
	name := "nil"
	if e.Type != nil {
		name = typeName(e.Type)
	}
	if e.Path == name {
		return fmt.Sprintf("type %s: %s", name, e.Why)
	}
	return fmt.Sprintf("type %s: field %s: %s", name, e.Path, e.Why)
}

func typeName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// shape is what is known of a type.
type shape struct {
	err    error   // it cannot be marshalled; only of a whole value's type
	deep   bool    // values may be nested without end: recursive, or an interface
	tagged bool    // the type is a concrete one: its tag is a level of nesting
	fields []field // of a struct: those that are deep
	elem   *shape  // of pointers, slices, arrays and maps
}

type field struct {
	index int
	name  string
	shape *shape
}

// shapeOf returns the shape of a whole value's type.
func (c *Codecs) shapeOf(t reflect.Type) *shape {
	if s, ok := c.shapes.Load(t); ok {
		return s.(*shape)
	}
	r := resolver{codecs: c, root: t, done: map[reflect.Type]*shape{}}
	s, err := r.resolve(t, typeName(t))
	if err != nil {
		s = &shape{err: err}
	}
	c.shapes.Store(t, s)
	return s
}
