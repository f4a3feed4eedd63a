package worker

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"

	"rpcpool.dev/tvm"
)

// Func is a function whose arguments are checked by itself. A registered Func
// is called without reflection, with arguments converted as for parameters of
// type any. A function that a client passes as an argument arrives as a Func.
type Func func(args ...any) (any, error)

// function is something that a client can call by handle.
type function struct {
	name   string
	fn     reflect.Value
	direct Func // fn itself, if it is a Func
	params []param
	rest   *param // of a variadic function: the type of the further arguments
	// What the Go function has besides what the client sees.
	wantsSession, hasResult, hasError bool
}

var (
	errorType   = reflect.TypeFor[error]()
	sessionType = reflect.TypeFor[*Session]()
)

// newFunction checks that fn is a function that can be called by the wire and
// plans its conversions.
func newFunction(name string, fn any) (*function, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		return nil, fmt.Errorf("function %q: %T is not a function", name, fn)
	}
	f := &function{name: name, fn: v}
	f.direct, _ = asFunc(fn)
	if err := f.planParams(v.Type()); err != nil {
		return nil, fmt.Errorf("function %q: %w", name, err)
	}
	if err := f.planResults(v.Type()); err != nil {
		return nil, fmt.Errorf("function %q: %w", name, err)
	}
	return f, nil
}

func asFunc(fn any) (Func, bool) {
	switch fn := fn.(type) {
	case Func:
		return fn, true
	case func(...any) (any, error):
		return fn, true
	}
	return nil, false
}

func (f *function) planParams(t reflect.Type) error {
	first := 0
	if t.NumIn() > 0 && t.In(0) == sessionType {
		f.wantsSession, first = true, 1
	}
	for i := first; i < t.NumIn(); i++ {
		in, variadic := t.In(i), t.IsVariadic() && i == t.NumIn()-1
		if variadic {
			in = in.Elem()
		}
		p, err := newParam(in)
		if err != nil {
			return fmt.Errorf("parameter #%d: %w", i-first, err)
		}
		if variadic {
			f.rest = &p
		} else {
			f.params = append(f.params, p)
		}
	}
	return nil
}

func (f *function) planResults(t reflect.Type) error {
	n := t.NumOut()
	if n > 0 && t.Out(n-1) == errorType {
		f.hasError = true
		n--
	}
	switch n {
	case 0:
		return nil
	case 1:
		f.hasResult = true
		return checkResultType(t.Out(0))
	default:
		return fmt.Errorf("%d results, want at most one and an error", n)
	}
}

// call converts the arguments, calls the function and returns its result. A
// panic is the call's error; its stack goes to stderr.
func (f *function) call(s *session, values []tvm.Value) (result any, err error) {
	args, err := f.convert(s, values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic in %s: %v\n%s", f.name, p, debug.Stack())
			result, err = nil, fmt.Errorf("%s: panic: %v", f.name, p)
		}
	}()
	if f.direct != nil {
		plain := make([]any, len(args))
		for i := range args {
			if args[i].IsValid() {
				plain[i] = args[i].Interface()
			}
		}
		return f.direct(plain...)
	}
	return f.results(f.fn.Call(args))
}

func (f *function) results(out []reflect.Value) (any, error) {
	if f.hasError {
		if err, _ := out[len(out)-1].Interface().(error); err != nil {
			return nil, err
		}
	}
	if !f.hasResult {
		return nil, nil
	}
	return out[0].Interface(), nil
}

func (f *function) convert(s *session, values []tvm.Value) ([]reflect.Value, error) {
	if err := f.checkCount(len(values)); err != nil {
		return nil, err
	}
	args := make([]reflect.Value, 0, len(values)+1)
	if f.wantsSession {
		args = append(args, reflect.ValueOf(&s.Session))
	}
	for i := range values {
		arg, err := f.param(i).convert(s, &values[i])
		if err != nil {
			return nil, fmt.Errorf("argument #%d: %w", i, err)
		}
		args = append(args, arg)
	}
	return args, nil
}

func (f *function) checkCount(n int) error {
	want, more := len(f.params), f.rest != nil
	switch {
	case n < want && more:
		return fmt.Errorf("got %d arguments, want at least %d", n, want)
	case n < want, n > want && !more:
		return fmt.Errorf("got %d arguments, want %d", n, want)
	}
	return nil
}

// param returns what argument i must be; checkCount says whether there is one.
func (f *function) param(i int) *param {
	if i < len(f.params) {
		return &f.params[i]
	}
	return f.rest
}

// bound is the function as Go code calls it, for functions that are passed
// back by the client. It takes what its parameters take and nothing is
// converted, so the types must match.
func (f *function) bound() Func {
	if f.direct != nil {
		return f.direct
	}
	return func(args ...any) (any, error) {
		if err := f.checkCount(len(args)); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if f.wantsSession {
			return nil, errors.New(f.name + " can be called by a client only")
		}
		in := make([]reflect.Value, len(args))
		for i, arg := range args {
			v, err := f.param(i).fromGo(arg)
			if err != nil {
				return nil, fmt.Errorf("%s: argument #%d: %w", f.name, i, err)
			}
			in[i] = v
		}
		return f.results(f.fn.Call(in))
	}
}
