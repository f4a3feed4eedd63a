package worker

import (
	"fmt"
	"math"
	"reflect"

	"rpcpool.dev/tvm"
)

// checkResultType tells early what can never be returned.
func checkResultType(t reflect.Type) error {
	switch {
	case t.Kind() >= reflect.Bool && t.Kind() <= reflect.Float64 && t.Kind() != reflect.Uintptr,
		t.Kind() == reflect.String, t.Kind() == reflect.Func, t.Kind() == reflect.Interface,
		t == bytesType, t == tensorType, t == deviceType, t == dtypeType, t == valueType:
		return nil
	}
	return fmt.Errorf("a %s cannot be returned", t)
}

// encode gives the values of the reply to a call: the result's type code, then
// the result; for an array a third, the handle to free it by.
func (s *session) encode(result any) ([]tvm.Value, error) {
	switch r := result.(type) {
	case nil:
		return s.pair(tvm.KindNull, tvm.Null())
	case []byte:
		return s.pair(tvm.KindBytes, tvm.Bytes(r))
	case tvm.Device:
		return s.pair(tvm.KindDevice, tvm.DeviceOf(r))
	case tvm.DataType:
		return s.pair(tvm.KindDataType, tvm.DTypeOf(r))
	case tvm.Value:
		if r.Kind == tvm.KindHandle {
			return s.pair(r.Kind, r)
		}
		return nil, fmt.Errorf("a %s cannot be returned as a value", r.Kind)
	case *Tensor:
		return s.encodeTensor(r)
	case error:
		return nil, r
	}
	return s.encodeKind(reflect.ValueOf(result))
}

// pair is the reply with a result of the given kind.
func (s *session) pair(kind tvm.Kind, v tvm.Value) ([]tvm.Value, error) {
	code, ok := s.server.flavour.TypeCode(kind)
	if !ok {
		return nil, fmt.Errorf("flavour %s has no %s", s.server.flavour, kind)
	}
	return []tvm.Value{tvm.Int(int64(code)), v}, nil
}

func (s *session) encodeKind(v reflect.Value) ([]tvm.Value, error) {
	switch k := v.Kind(); {
	case k == reflect.Bool:
		return s.pair(tvm.KindBool, tvm.Bool(v.Bool()))
	case v.CanInt():
		return s.pair(tvm.KindInt, tvm.Int(v.Int()))
	case v.CanUint() && k != reflect.Uintptr:
		if v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("result %d does not fit the wire's int64", v.Uint())
		}
		return s.pair(tvm.KindInt, tvm.Int(int64(v.Uint())))
	case v.CanFloat():
		return s.pair(tvm.KindFloat, tvm.Float(v.Float()))
	case k == reflect.String:
		return s.pair(tvm.KindStr, tvm.Str(v.String()))
	case k == reflect.Func:
		return s.encodeFunction(v)
	default:
		return nil, fmt.Errorf("a %s cannot be returned", v.Type())
	}
}

func (s *session) encodeFunction(v reflect.Value) ([]tvm.Value, error) {
	if v.IsNil() {
		return s.pair(tvm.KindNull, tvm.Null())
	}
	f, err := newFunction("returned function", v.Interface())
	if err != nil {
		return nil, err
	}
	handle, err := s.mem.add(f)
	if err != nil {
		return nil, err
	}
	return s.pair(tvm.KindFunc, tvm.Handle(handle))
}

func (s *session) encodeTensor(t *Tensor) ([]tvm.Value, error) {
	if t == nil {
		return s.pair(tvm.KindNull, tvm.Null())
	}
	code, _ := s.server.flavour.TensorObjectCode()
	remote, handle, err := s.mem.publish(t)
	if err != nil {
		return nil, fmt.Errorf("return array: %w", err)
	}
	return []tvm.Value{tvm.Int(int64(code)), tvm.TensorOf(remote), tvm.Handle(handle)}, nil
}

// describe names a value in an error message: its kind, and what it is where
// that is short.
func describe(v *tvm.Value) string {
	const most = 40
	switch {
	case v.Kind == tvm.KindInt, v.Kind == tvm.KindBool:
		return fmt.Sprintf("%s %d", v.Kind, v.Int)
	case v.Kind == tvm.KindFloat:
		return fmt.Sprintf("float %v", v.Float)
	case v.Kind == tvm.KindStr && len(v.Data) > most:
		return fmt.Sprintf("str %q…", v.Data[:most])
	case v.Kind == tvm.KindStr:
		return fmt.Sprintf("str %q", v.Data)
	default:
		return v.Kind.String()
	}
}
