package rpc

import (
	"context"
	"fmt"
	"reflect"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/server"
)

// bind gives the blobs among a handler's arguments their bytes.
func bind(j *server.Job, v reflect.Value) error {
	if v.CanAddr() {
		if a, is := v.Addr().Interface().(*BlobArg); is {
			return a.bind(j)
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || !holdsBlobs(v.Elem().Type()) {
			return nil
		}
		return bind(j, v.Elem())
	case reflect.Struct:
		return bindFields(j, v)
	case reflect.Slice, reflect.Array:
		return bindItems(j, v)
	}
	return nil
}

func bindFields(j *server.Job, v reflect.Value) error {
	for i := range v.NumField() {
		if f := v.Field(i); v.Type().Field(i).IsExported() && holdsBlobs(f.Type()) {
			if err := bind(j, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func bindItems(j *server.Job, v reflect.Value) error {
	if !holdsBlobs(v.Type().Elem()) {
		return nil
	}
	for i := range v.Len() {
		if err := bind(j, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// holdsBlobs tells whether it may pay to look for blobs in values of a type. Those in maps are not
// found, nor are those in an any, which the codec cannot know for what they are.
func holdsBlobs(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Array:
		return true
	}
	return false
}

func (a *BlobArg) bind(j *server.Job) error {
	if a.number == 0 {
		return nil
	}
	arg, bytes, made, ok := j.Blob(a.number - 1)
	if !ok || arg.Body {
		return fmt.Errorf("%w: the call has no blob %d", blob.ErrMalformed, a.number-1)
	}
	a.arg, a.bytes, a.made = arg, bytes, made
	return nil
}

// Room makes room for a result of n bytes that a handler is to return. If its caller takes that by a
// blob, it is there already: what is returned of it, from its begin on, is not copied. Else it
// is memory as any. It is the handler's until that returns.
func Room(ctx context.Context, n int) []byte {
	if j := server.FromContext(ctx); j != nil {
		return j.Room(n)
	}
	return make([]byte, n)
}
