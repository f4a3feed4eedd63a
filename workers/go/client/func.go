package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"

	"rpcpool.dev/tvm"
)

// Func is a function of the server. It lives as long as its session, or until
// it is freed.
type Func struct {
	session *Session
	name    string
	handle  uint64
}

// Func looks a global function up. It fails with [ErrNoFunction] if the server
// has none of that name.
func (s *Session) Func(ctx context.Context, name string) (*Func, error) {
	values, err := s.system(ctx, tvm.RPCGetGlobalFunc, tvm.Str(name))
	if err != nil {
		return nil, fmt.Errorf("look up %q: %w", name, err)
	}
	if values.Handle == 0 {
		return nil, fmt.Errorf("%w: %q on %s", ErrNoFunction, name, s.addr)
	}
	return &Func{session: s, name: name, handle: values.Handle}, nil
}

// Call calls a global function by name; its handle is looked up once and kept.
// Arguments and result are as with [Func.Call].
func (s *Session) Call(ctx context.Context, name string, args ...any) (any, error) {
	f, err := s.cached(ctx, name)
	if err != nil {
		return nil, err
	}
	return f.Call(ctx, args...)
}

func (s *Session) cached(ctx context.Context, name string) (*Func, error) {
	s.state.Lock()
	f, ok := s.functions[name]
	s.state.Unlock()
	if ok {
		return f, nil
	}
	f, err := s.Func(ctx, name)
	if err != nil {
		return nil, err
	}
	s.state.Lock()
	s.functions[name] = f
	s.state.Unlock()
	return f, nil
}

// Call calls the function. Arguments may be nil, bool, any integer, float or
// string, []byte, [*Array], [*Func] (of this session), [tvm.Device],
// [tvm.DataType] or [tvm.Value]. The result is nil, int64, bool, float64,
// string, []byte, [*Array], [*Func], [tvm.Device], [tvm.DataType] or, for what
// a Go program has no type for, a [tvm.Value].
//
// An exception of the server is a [*RemoteError]. If ctx ends first the session
// is lost.
func (f *Func) Call(ctx context.Context, args ...any) (any, error) {
	values := make([]tvm.Value, len(args))
	for i, arg := range args {
		v, err := f.session.value(arg)
		if err != nil {
			return nil, fmt.Errorf("call %s: argument #%d: %w", f.name, i, err)
		}
		values[i] = v
	}
	reply, err := f.session.request(ctx, tvm.CallFunc{Handle: f.handle, Args: values})
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", f.name, err)
	}
	result, err := f.session.result(reply)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", f.name, err)
	}
	return result, nil
}

// Free gives the handle back to the server.
func (f *Func) Free(ctx context.Context) error {
	if err := f.session.free(ctx, f.handle, tvm.KindFunc); err != nil {
		return fmt.Errorf("free %s: %w", f.name, err)
	}
	s := f.session
	s.state.Lock()
	defer s.state.Unlock()
	if s.functions[f.name] == f {
		delete(s.functions, f.name)
	}
	return nil
}

// free is kFreeHandle; flavour A also wants to be told what is freed.
func (s *Session) free(ctx context.Context, handle uint64, kind tvm.Kind) error {
	args := []tvm.Value{tvm.Handle(handle)}
	if s.flavour == tvm.FlavourA {
		code, _ := s.flavour.TypeCode(kind)
		if kind == tvm.KindTensor {
			code, _ = s.flavour.TensorObjectCode()
		}
		args = append(args, tvm.Int(int64(code)))
	}
	_, err := s.system(ctx, tvm.RPCFreeHandle, args...)
	return err
}

// system does a system call; its reply is one value.
func (s *Session) system(ctx context.Context, code tvm.RPCCode, args ...tvm.Value) (tvm.Value, error) {
	values, err := s.request(ctx, tvm.Syscall{Code: code, Args: args})
	if err != nil {
		return tvm.Value{}, err
	}
	if len(values) != 1 {
		return tvm.Value{}, broken("%s returned %d values, want 1", code, len(values))
	}
	return values[0], nil
}

// value gives an argument as it is sent.
func (s *Session) value(arg any) (tvm.Value, error) {
	switch a := arg.(type) {
	case nil:
		return tvm.Null(), nil
	case []byte:
		return tvm.Bytes(a), nil
	case tvm.Value:
		return a, nil
	case tvm.Device:
		return tvm.DeviceOf(a), nil
	case tvm.DataType:
		return tvm.DTypeOf(a), nil
	case *Array:
		if a.session != s {
			return tvm.Value{}, errors.New("the array is another session's")
		}
		return tvm.TensorOf(a.tensor), nil
	case *Func:
		if a.session != s {
			return tvm.Value{}, errors.New("the function is another session's")
		}
		return tvm.Func(a.handle), nil
	}
	return plainValue(reflect.ValueOf(arg))
}

func plainValue(v reflect.Value) (tvm.Value, error) {
	switch {
	case v.Kind() == reflect.Bool:
		return tvm.Bool(v.Bool()), nil
	case v.CanInt():
		return tvm.Int(v.Int()), nil
	case v.CanUint():
		if v.Uint() > math.MaxInt64 {
			return tvm.Value{}, fmt.Errorf("%d does not fit the wire's int64", v.Uint())
		}
		return tvm.Int(int64(v.Uint())), nil
	case v.CanFloat():
		return tvm.Float(v.Float()), nil
	case v.Kind() == reflect.String:
		return tvm.Str(v.String()), nil
	default:
		return tvm.Value{}, fmt.Errorf("a %s cannot be sent", v.Type())
	}
}

// result makes the Go value of a reply: its type code, the value, and for an
// array the handle that frees it.
func (s *Session) result(values []tvm.Value) (any, error) {
	if len(values) < 2 || values[0].Kind != tvm.KindInt {
		return nil, broken("reply of %d values is no result", len(values))
	}
	code, v := values[0].Int, values[1]
	if v.Kind == tvm.KindTensor && len(values) == 3 {
		return &Array{session: s, tensor: *v.Tensor, object: values[2].Handle}, nil
	}
	function, _ := s.flavour.TypeCode(tvm.KindFunc)
	module, _ := s.flavour.TypeCode(tvm.KindModule)
	switch {
	case code == int64(function):
		return &Func{session: s, name: "returned function", handle: v.Handle}, nil
	case code == int64(module):
		return tvm.Module(v.Handle), nil
	}
	return natural(v), nil
}

func natural(v tvm.Value) any {
	switch v.Kind {
	case tvm.KindNull:
		return nil
	case tvm.KindInt:
		return v.Int
	case tvm.KindBool:
		return v.Int != 0
	case tvm.KindFloat:
		return v.Float
	case tvm.KindStr:
		return string(v.Data)
	case tvm.KindBytes:
		return v.Data
	case tvm.KindDevice:
		return v.Device
	case tvm.KindDataType:
		return v.DType
	default:
		return v
	}
}
