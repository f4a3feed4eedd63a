// Package remote has accumulators over calls: a server's methods, the pusher of a client,
// and what reads and erases.
//
//	acc.Sum("instances").Add(1) ─▶ accumulator.Client ─ Pusher ─▶ accumulator.Push ─▶ accumulator.Server
//
// A push is one call, made at most once; one of which nothing is known is made again, and the
// server recognises it by its number. It owns nothing, and loses nothing in a crash.
package remote

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/accumulator"
)

// Methods of a server of accumulators.
const (
	MethodPush     = "accumulator.Push"
	MethodRead     = "accumulator.Read"
	MethodReset    = "accumulator.Reset"
	MethodErase    = "accumulator.Erase"
	MethodEraseAll = "accumulator.EraseAll"
	MethodList     = "accumulator.List"
)

// Reasons of its errors, for errors.Is at the caller. NotFound is a read of what is not there.
const (
	Rejected = rpc.Reason("rejected")
	NotFound = rpc.Reason("not found")
)

// Name names an accumulator.
type Name struct {
	Name   string
	Labels []accumulator.Label
}

// Value is an accumulator's value, as [accumulator.Value]; its State is in bytes.
type Value struct {
	Name
	Type  string
	Start time.Time
	State []byte
}

// Register makes the methods of a server of accumulators callable.
func Register(s *rpc.Server, a *accumulator.Server) {
	rpc.Handle(s, MethodPush, func(ctx context.Context, batch []byte) ([]byte, error) {
		err := a.Push(ctx, batch)
		if errors.Is(err, accumulator.ErrRejected) {
			return nil, rpc.Fail(Rejected, nil, "%w", err)
		}
		return nil, err //nolint:wrapcheck // it says all
	})
	rpc.Handle(s, MethodRead, func(_ context.Context, n Name) (Value, error) {
		v, err := a.Read(n.Name, n.Labels...)
		if err != nil {
			return Value{}, reasoned(err)
		}
		return valueOf(&v)
	})
	rpc.Handle(s, MethodReset, func(_ context.Context, n Name) (bool, error) { return true, reasoned(a.Reset(n.Name, n.Labels...)) })
	rpc.Handle(s, MethodErase, func(_ context.Context, n Name) (bool, error) { return true, reasoned(a.Erase(n.Name, n.Labels...)) })
	rpc.Handle(s, MethodEraseAll, func(context.Context, bool) (bool, error) {
		a.EraseAll()
		return true, nil
	})
	rpc.Handle(s, MethodList, func(context.Context, bool) ([]Value, error) {
		all, err := a.List()
		if err != nil {
			return nil, err //nolint:wrapcheck // it says all
		}
		values := make([]Value, len(all))
		for i := range all {
			if values[i], err = valueOf(&all[i]); err != nil {
				return nil, err
			}
		}
		return values, nil
	})
}

func reasoned(err error) error {
	if errors.Is(err, accumulator.ErrNotFound) {
		return rpc.Fail(NotFound, nil, "%w", err)
	}
	return err
}

func valueOf(v *accumulator.Value) (Value, error) {
	state, err := v.State.AppendBinary(nil)
	if err != nil {
		return Value{}, fmt.Errorf("accumulator %q: %w", v.Name, err)
	}
	return Value{Name: Name{v.Name, v.Labels}, Type: v.Type, Start: v.Start, State: state}, nil
}

// Pusher pushes by calls.
type Pusher struct{ Caller rpc.Caller }

var _ accumulator.Pusher = Pusher{}

// Push implements [accumulator.Pusher].
func (p Pusher) Push(ctx context.Context, batch []byte) error {
	_, err := rpc.Call[[]byte](ctx, p.Caller, MethodPush, batch)
	switch {
	case errors.Is(err, Rejected):
		return fmt.Errorf("%w: %w", accumulator.ErrRejected, err)
	case errors.Is(err, rpc.NotExecuted):
		return notExecuted{err}
	}
	return err //nolint:wrapcheck // it says all
}

// notExecuted is an error of a call that did not run and never will.
type notExecuted struct{ error }

// NotExecuted tells the accumulators' client.
func (notExecuted) NotExecuted() bool { return true }

func (e notExecuted) Unwrap() error { return e.error }

// Read reads one accumulator's state into state, which must be of its type: an
// [*accumulator.Sum] for a sum. Its error is [NotFound] if there is none.
func Read(ctx context.Context, c rpc.Caller, state encoding.BinaryUnmarshaler, name string, labels ...accumulator.Label) error {
	v, err := rpc.Call[Value](ctx, c, MethodRead, Name{name, labels}, rpc.ReadOnly)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if err := state.UnmarshalBinary(v.State); err != nil {
		return fmt.Errorf("accumulator %q of type %s: %w", name, v.Type, err)
	}
	return nil
}
