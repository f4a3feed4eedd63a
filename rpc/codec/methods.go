package codec

import (
	"context"
	"errors"
	"fmt"
	"go/token"
	"reflect"
	"sync"
)

// Method is a method of a receiver that can be called from afar:
//
//	func (T) M(arg A, reply *R) error
//	func (T) M(ctx context.Context, arg A, reply *R) error
type Method struct {
	Name       string       // "T.M"
	ArgType    reflect.Type // A
	ReplyType  reflect.Type // *R
	ArgCodec   Codec
	ReplyCodec Codec

	receiver reflect.Value
	fn       reflect.Value
	ctx      bool
	byValue  bool      // A is no pointer: the method gets a copy
	args     sync.Pool // of *A, zeroed; only if byValue
}

// Methods returns the methods of a receiver that can be called, as net/rpc would
// find them. name stands for the receiver's type in their names; "" is its own.
// Exported methods of another form are left out; unsuitable says why, for a log.
// A method of the right form whose argument or reply cannot be marshalled is an
// error, as is a receiver with no method to call.
func (c *Codecs) Methods(receiver any, name string) (methods []*Method, unsuitable []error, err error) {
	t := reflect.TypeOf(receiver)
	if t == nil {
		return nil, nil, errors.New("receiver is nil")
	}
	if name == "" {
		name = indirect(t).Name()
		if !token.IsExported(name) {
			return nil, nil, fmt.Errorf("receiver of type %v has no exported name", t)
		}
	}
	for i := range t.NumMethod() {
		m := &Method{Name: name + "." + t.Method(i).Name, receiver: reflect.ValueOf(receiver), fn: t.Method(i).Func}
		if why := m.shape(); why != "" {
			unsuitable = append(unsuitable, fmt.Errorf("method %s %s", m.Name, why))
			continue
		}
		if err := m.codecs(c); err != nil {
			return nil, nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		methods = append(methods, m)
	}
	if len(methods) == 0 {
		return nil, nil, fmt.Errorf("receiver of type %v has no method that can be called: %w", t, noMethods(t, unsuitable))
	}
	return methods, unsuitable, nil
}

func noMethods(t reflect.Type, unsuitable []error) error {
	if t.Kind() != reflect.Pointer && reflect.PointerTo(t).NumMethod() > t.NumMethod() {
		unsuitable = append(unsuitable, errors.New("a pointer to it has more methods: pass that"))
	}
	if len(unsuitable) == 0 {
		return errors.New("none is exported")
	}
	return errors.Join(unsuitable...)
}

// shape fills in the types, or says why the method is unsuitable.
func (m *Method) shape() string {
	t := m.fn.Type()
	in := make([]reflect.Type, 0, 3)
	for i := 1; i < t.NumIn(); i++ {
		in = append(in, t.In(i))
	}
	m.ctx = len(in) > 0 && in[0] == reflect.TypeFor[context.Context]()
	if m.ctx {
		in = in[1:]
	}
	switch {
	case t.IsVariadic():
		return "is variadic"
	case len(in) != 2:
		return fmt.Sprintf("has %d arguments, needs an argument and a pointer for the reply", len(in))
	case !visible(in[0]):
		return fmt.Sprintf("has an argument of type %v, which is not exported", in[0])
	case in[1].Kind() != reflect.Pointer:
		return fmt.Sprintf("has a reply of type %v, which is not a pointer", in[1])
	case !visible(in[1]):
		return fmt.Sprintf("has a reply of type %v, which is not exported", in[1])
	case t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]():
		return "does not return exactly one error"
	}
	m.ArgType, m.ReplyType = in[0], in[1]
	m.byValue = in[0].Kind() != reflect.Pointer
	return ""
}

// visible says whether other packages can name a type.
func visible(t reflect.Type) bool {
	t = indirect(t)
	return token.IsExported(t.Name()) || t.PkgPath() == ""
}

func (m *Method) codecs(c *Codecs) (err error) {
	if m.byValue && isProto(reflect.PointerTo(m.ArgType)) {
		return fmt.Errorf("argument is a copy of the protobuf message %v, and must be a pointer", m.ArgType)
	}
	if isProto(m.ReplyType.Elem()) {
		return fmt.Errorf("reply is a pointer to a pointer to the protobuf message %v, and must be one pointer", m.ReplyType.Elem().Elem())
	}
	if m.ArgCodec, err = c.For(m.ArgType); err != nil {
		return fmt.Errorf("argument: %w", err)
	}
	if m.ReplyCodec, err = c.For(m.ReplyType); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// NewArg returns a pointer to a zero argument, to decode into: a *A.
func (m *Method) NewArg() any {
	if !m.byValue {
		return reflect.New(m.ArgType.Elem()).Interface()
	}
	if v := m.args.Get(); v != nil {
		return v
	}
	return reflect.New(m.ArgType).Interface()
}

// FreeArg takes an argument back, after the call or instead of it. It is used
// again only if the method cannot have kept it: what it was given is a copy.
func (m *Method) FreeArg(arg any) {
	if m.byValue {
		reflect.ValueOf(arg).Elem().SetZero()
		m.args.Put(arg)
	}
}

// NewReply returns a reply: a *R. A map is made, and a slice is empty and not
// nil, as in net/rpc. It is always new: a method may keep it.
func (m *Method) NewReply() any {
	v := reflect.New(m.ReplyType.Elem())
	switch t := m.ReplyType.Elem(); t.Kind() {
	case reflect.Map:
		v.Elem().Set(reflect.MakeMap(t))
	case reflect.Slice:
		v.Elem().Set(reflect.MakeSlice(t, 0, 0))
	}
	return v.Interface()
}

// Invoke calls the method with what [Method.NewArg] and [Method.NewReply] have
// returned, and returns its error. A panic of the method goes to the caller.
func (m *Method) Invoke(ctx context.Context, arg, reply any) error {
	var in [4]reflect.Value
	n := 1
	in[0] = m.receiver
	if m.ctx {
		in[n] = reflect.ValueOf(ctx)
		n++
	}
	in[n] = reflect.ValueOf(arg)
	if m.byValue {
		in[n] = in[n].Elem()
	}
	in[n+1] = reflect.ValueOf(reply)
	err, _ := m.fn.Call(in[:n+2])[0].Interface().(error)
	return err
}
