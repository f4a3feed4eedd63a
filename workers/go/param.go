package worker

import (
	"fmt"
	"reflect"

	"rpcpool.dev/tvm"
)

// param converts arguments of one Go type.
type param struct {
	typ     reflect.Type
	want    string // as it is called in messages
	convert func(s *session, v *tvm.Value) (reflect.Value, error)
}

var (
	bytesType  = reflect.TypeFor[[]byte]()
	tensorType = reflect.TypeFor[*Tensor]()
	valueType  = reflect.TypeFor[tvm.Value]()
	deviceType = reflect.TypeFor[tvm.Device]()
	dtypeType  = reflect.TypeFor[tvm.DataType]()
	funcType   = reflect.TypeFor[Func]()
	anyType    = reflect.TypeFor[any]()
)

// newParam plans the conversion to t, or says that no argument can become one.
func newParam(t reflect.Type) (param, error) {
	if p, ok := specialParam(t); ok {
		return p, nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return param{t, "int", toInt(t)}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return param{t, "unsigned int", toUint(t)}, nil
	case reflect.Float32, reflect.Float64:
		return param{t, "float", toFloat(t)}, nil
	case reflect.Bool:
		return param{t, "bool", toBool(t)}, nil
	case reflect.String:
		return param{t, "str", toString(t)}, nil
	case reflect.Func:
		return param{t, "function " + t.String(), toFunc(t)}, nil
	default:
		return param{}, fmt.Errorf("no value of the wire can become a %s", t)
	}
}

func specialParam(t reflect.Type) (param, bool) {
	switch t {
	case bytesType:
		return param{t, "bytes", toBytes}, true
	case tensorType:
		return param{t, "tensor", toTensor}, true
	case deviceType:
		return param{t, "device", exact(tvm.KindDevice, func(v *tvm.Value) any { return v.Device })}, true
	case dtypeType:
		return param{t, "data type", exact(tvm.KindDataType, func(v *tvm.Value) any { return v.DType })}, true
	case valueType:
		return param{t, "value", func(_ *session, v *tvm.Value) (reflect.Value, error) {
			return reflect.ValueOf(*v), nil
		}}, true
	case anyType:
		return param{t, "any", toAny}, true
	}
	return param{}, false
}

// errKind is the error for an argument of the wrong kind.
func errKind(want string, v *tvm.Value) error {
	return fmt.Errorf("want %s, got %s", want, describe(v))
}

func exact(kind tvm.Kind, get func(*tvm.Value) any) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		if v.Kind != kind {
			return reflect.Value{}, errKind(kind.String(), v)
		}
		return reflect.ValueOf(get(v)), nil
	}
}

func toInt(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		if v.Kind != tvm.KindInt && v.Kind != tvm.KindBool {
			return reflect.Value{}, errKind("int", v)
		}
		if t.OverflowInt(v.Int) {
			return reflect.Value{}, fmt.Errorf("%d does not fit %s", v.Int, t)
		}
		return reflect.ValueOf(v.Int).Convert(t), nil
	}
}

func toUint(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		if v.Kind != tvm.KindInt && v.Kind != tvm.KindBool {
			return reflect.Value{}, errKind("unsigned int", v)
		}
		if v.Int < 0 || t.OverflowUint(uint64(v.Int)) {
			return reflect.Value{}, fmt.Errorf("%d does not fit %s", v.Int, t)
		}
		return reflect.ValueOf(uint64(v.Int)).Convert(t), nil
	}
}

// toFloat takes integers too, as TVM does.
func toFloat(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		switch v.Kind {
		case tvm.KindFloat:
			return reflect.ValueOf(v.Float).Convert(t), nil
		case tvm.KindInt, tvm.KindBool:
			return reflect.ValueOf(float64(v.Int)).Convert(t), nil
		default:
			return reflect.Value{}, errKind("float", v)
		}
	}
}

// toBool takes integers too: flavour A had no bool before TVM 0.18.
func toBool(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		if v.Kind != tvm.KindBool && v.Kind != tvm.KindInt {
			return reflect.Value{}, errKind("bool", v)
		}
		return reflect.ValueOf(v.Int != 0).Convert(t), nil
	}
}

// toString and toBytes take each other's kind: clients send file contents as
// either.
func toString(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(_ *session, v *tvm.Value) (reflect.Value, error) {
		if v.Kind != tvm.KindStr && v.Kind != tvm.KindBytes {
			return reflect.Value{}, errKind("str", v)
		}
		return reflect.ValueOf(string(v.Data)).Convert(t), nil
	}
}

func toBytes(s *session, v *tvm.Value) (reflect.Value, error) {
	if v.Kind != tvm.KindStr && v.Kind != tvm.KindBytes {
		return reflect.Value{}, errKind("bytes", v)
	}
	return reflect.ValueOf(s.keep(v.Data)), nil
}

func toTensor(s *session, v *tvm.Value) (reflect.Value, error) {
	switch v.Kind {
	case tvm.KindNull:
		return reflect.Zero(tensorType), nil
	case tvm.KindTensor:
		t, err := s.mem.tensor(v.Tensor)
		return reflect.ValueOf(t), err
	default:
		return reflect.Value{}, errKind("tensor", v)
	}
}

// toFunc gives the function behind a handle: as it is if it is a t, and as a
// Func if that is what t is.
func toFunc(t reflect.Type) func(*session, *tvm.Value) (reflect.Value, error) {
	return func(s *session, v *tvm.Value) (reflect.Value, error) {
		switch v.Kind {
		case tvm.KindNull:
			return reflect.Zero(t), nil
		case tvm.KindFunc:
		default:
			return reflect.Value{}, errKind("function", v)
		}
		f, err := s.mem.function(v.Handle)
		switch {
		case err != nil:
			return reflect.Value{}, err
		case f.fn.Type().ConvertibleTo(t):
			return f.fn.Convert(t), nil
		case funcType.ConvertibleTo(t):
			return reflect.ValueOf(f.bound()).Convert(t), nil
		default:
			return reflect.Value{}, fmt.Errorf("want %s, got %s, which is a %s", t, f.name, f.fn.Type())
		}
	}
}

// toAny gives the natural Go value: nil, int64, bool, float64, string, []byte,
// *Tensor, Func, tvm.Device, tvm.DataType, and tvm.Value for what a Go worker
// has no notion of (opaque handles, modules, objects).
func toAny(s *session, v *tvm.Value) (reflect.Value, error) {
	natural, err := s.natural(v)
	if err != nil {
		return reflect.Value{}, err
	}
	if natural == nil {
		return reflect.Zero(anyType), nil
	}
	return reflect.ValueOf(natural), nil
}

func (s *session) natural(v *tvm.Value) (any, error) {
	switch v.Kind {
	case tvm.KindNull:
		return nil, nil
	case tvm.KindInt:
		return v.Int, nil
	case tvm.KindBool:
		return v.Int != 0, nil
	case tvm.KindFloat:
		return v.Float, nil
	case tvm.KindStr:
		return string(v.Data), nil
	case tvm.KindBytes:
		return s.keep(v.Data), nil
	case tvm.KindTensor:
		return s.mem.tensor(v.Tensor)
	case tvm.KindDevice:
		return v.Device, nil
	case tvm.KindDataType:
		return v.DType, nil
	case tvm.KindFunc:
		f, err := s.mem.function(v.Handle)
		if err != nil {
			return nil, err
		}
		return f.bound(), nil
	default:
		return *v, nil
	}
}

// fromGo converts a Go value for a call that does not come from the wire.
func (p *param) fromGo(arg any) (reflect.Value, error) {
	if arg == nil {
		return reflect.Zero(p.typ), nil
	}
	v := reflect.ValueOf(arg)
	switch {
	case v.Type().AssignableTo(p.typ):
		return v, nil
	case isNumber(v.Kind()) && isNumber(p.typ.Kind()):
		return v.Convert(p.typ), nil
	default:
		return reflect.Value{}, fmt.Errorf("want %s, got %T", p.want, arg)
	}
}

func isNumber(k reflect.Kind) bool {
	return k >= reflect.Int && k <= reflect.Float64 && k != reflect.Uintptr
}
