package codec

import (
	"fmt"
	"reflect"
	"strings"
)

// maxHops is how many pointers and interfaces may follow each other.
const maxHops = 16

// checkValue fails if v is nested too deep, or has something in an interface
// that cannot be marshalled. It costs nothing for types without end-less values.
func (c *Codecs) checkValue(s *shape, v any) error {
	if !s.deep {
		return nil
	}
	w := walker{codecs: c}
	if w.walk(s, reflect.ValueOf(v), 0, 0) == nil {
		return nil
	}
	// Again, and slowly, to say where.
	w = walker{codecs: c, seen: map[visit]bool{}, path: []string{typeName(reflect.TypeOf(v))}}
	return fmt.Errorf("cbor codec: %w", w.walk(s, reflect.ValueOf(v), 0, 0))
}

// visit is a pointer on the way to where a walker is.
type visit struct {
	t reflect.Type
	p uintptr
	n int // of a slice: its length
}

// walker goes through the part of a value that may be deep.
type walker struct {
	codecs *Codecs
	seen   map[visit]bool // nil: only the depth counts
	path   []string
}

func (w *walker) fail(err error) error {
	if w.seen == nil {
		return err
	}
	return fmt.Errorf("%s %w", strings.Join(w.path, ""), err)
}

// enter and leave keep the path of the slow walk.
func (w *walker) enter(step string) { w.path = append(w.path, step) }

func (w *walker) leave() {
	if w.seen != nil {
		w.path = w.path[:len(w.path)-1]
	}
}

// walk goes into v. depth counts levels of nesting, hops the pointers and
// interfaces since the last one.
func (w *walker) walk(s *shape, v reflect.Value, depth, hops int) error {
	if depth > MaxNesting || hops > maxHops {
		return w.fail(ErrNesting)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if w.seen != nil {
			at := visit{v.Type(), v.Pointer(), 0}
			if v.Kind() == reflect.Slice {
				at.n = v.Len() // s[0] may hold a shorter slice of s
			}
			if w.seen[at] {
				return w.fail(ErrCycle)
			}
			w.seen[at] = true
			defer delete(w.seen, at)
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		return w.walk(s.elem, v.Elem(), depth, hops+1)
	case reflect.Interface:
		return w.walkInterface(v, depth, hops)
	case reflect.Slice, reflect.Array:
		return w.walkItems(s, v, depth)
	case reflect.Map:
		return w.walkMap(s, v, depth)
	case reflect.Struct:
		return w.walkStruct(s, v, depth)
	}
	return nil
}

func (w *walker) walkInterface(v reflect.Value, depth, hops int) error {
	if v.IsNil() {
		return nil
	}
	t := v.Elem().Type()
	if v.NumMethod() > 0 && !w.codecs.isConcrete(indirect(t)) {
		return w.fail(fmt.Errorf("holds a %v, which is not a registered concrete type", t))
	}
	s := w.codecs.shapeOf(t)
	if s.err != nil {
		return w.fail(s.err)
	}
	if !s.deep {
		return nil
	}
	return w.walk(s, v.Elem(), depth, hops+1)
}

func (w *walker) walkItems(s *shape, v reflect.Value, depth int) error {
	if !s.elem.deep {
		return nil
	}
	for i := range v.Len() {
		if w.seen != nil {
			w.enter(fmt.Sprint("[", i, "]"))
		}
		if err := w.walk(s.elem, v.Index(i), depth+1, 0); err != nil {
			return err
		}
		w.leave()
	}
	return nil
}

func (w *walker) walkMap(s *shape, v reflect.Value, depth int) error {
	dynamic := v.Type().Key().Kind() == reflect.Interface
	for it := v.MapRange(); it.Next(); {
		if dynamic && !canBeKey(it.Key().Elem()) {
			return w.fail(fmt.Errorf("has the key %v of a type that cannot be one", it.Key()))
		}
		if w.seen != nil {
			w.enter(fmt.Sprint("[", it.Key(), "]"))
		}
		if err := w.walk(s.elem, it.Value(), depth+1, 0); err != nil {
			return err
		}
		w.leave()
	}
	return nil
}

func (w *walker) walkStruct(s *shape, v reflect.Value, depth int) error {
	if s.tagged {
		depth++
	}
	for _, f := range s.fields {
		if w.seen != nil {
			w.enter("." + f.name)
		}
		if err := w.walk(f.shape, v.Field(f.index), depth+1, 0); err != nil {
			return err
		}
		w.leave()
	}
	return nil
}
