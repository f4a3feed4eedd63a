package rpc

import (
	"context"
	"fmt"
	"reflect"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Register registers the methods of a receiver as package net/rpc does: all exported ones
// of the form
//
//	func (t T) Method(args A, reply *R) error
//
// under "T.Method", or name+".Method" if name is not empty. A context may come first. Methods of
// another form are passed over; it is an error if there is none of the form.
func (s *Server) Register(receiver any, name string, opts ...MethodOptions) error {
	methods, _, err := s.codecs.Methods(receiver, name)
	if err != nil {
		err = fmt.Errorf("rpc: registering %T: %w", receiver, err)
		s.reject(name, err)
		return err
	}
	for _, m := range methods {
		s.add(m.Name, func(j *server.Job) (session.Code, []byte) { return s.invoke(j, m) }, s.directMethod(m), opts)
	}
	return s.Err()
}

// invoke calls a method of a receiver.
func (s *Server) invoke(j *server.Job, m *codec.Method) (session.Code, []byte) {
	if j.Stream() != nil {
		return noStream()
	}
	args, result, err := s.codecsOf(j, m.ArgCodec, m.ReplyCodec)
	arg := m.NewArg()
	if err == nil {
		err = args.Decode(j.Args, arg)
	}
	if borrows, _ := j.Borrows(); borrows && err == nil {
		err = bind(j, reflect.ValueOf(arg).Elem())
	}
	if err != nil {
		return session.Invalid, wire.Failure(-1, "arguments: "+err.Error(), nil)
	}
	reply := m.NewReply()
	if err := s.intercept(j, func(ctx context.Context) error { return m.Invoke(ctx, arg, reply) }); err != nil {
		return failed(j, err)
	}
	m.FreeArg(arg)
	b, err := result.Append(j.Scratch(), reflect.ValueOf(reply).Elem().Interface())
	if err != nil {
		return session.Failed, wire.Failure(-1, "result: "+err.Error(), nil)
	}
	return session.OK, b
}

// directMethod is such a method as it is called within the process.
func (s *Server) directMethod(m *codec.Method) immediate {
	take := func(s *Server, args any) (any, error) {
		arg := m.NewArg()
		return arg, s.copyTo(arg, args)
	}
	return immediate{take: take, call: func(ctx context.Context, s *Server, arg, reply any) error {
		r := m.NewReply()
		if err := m.Invoke(ctx, arg, r); err != nil || reply == nil {
			return err //nolint:wrapcheck // the method's
		}
		return s.copyTo(reply, reflect.ValueOf(r).Elem().Interface())
	}}
}
