package rpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"time"

	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/server"
)

// Record says that a call has taken place, and what has come of it. The handler's store
// keeps it, see [Complete].
type Record struct {
	XID   XID
	Reply []byte // what [Lookup] has to return; never empty, and of no use to others
}

// Lookup finds the record of a call in a handler's store. found is false if there is
// none; err says that this cannot be told now. It is [MethodOptions].Lookup.
type Lookup func(ctx context.Context, id XID) (reply []byte, found bool, err error)

// Void is why a call fails whose id was closed by [Voided] before it took place.
const Void = Reason("void")

// voided is the reply of such a record: no codec has this id.
const voided = 0xff

// Voided is a record that a call has not taken place, and will not: its handler finds it in its
// store, or cannot add its own. Who wants to know what has become of a call that had no
// result adds it, if there is no record with this id, in one transaction.
func Voided(id XID) Record { return Record{XID: id, Reply: []byte{voided}} }

// NewXID makes an id for a call, see [ExactlyOnce].
func NewXID() XID {
	var b [24]byte
	_, _ = rand.Read(b[:])
	x := XID{Seq: binary.LittleEndian.Uint64(b[16:]) | 1}
	copy(x.Session[:], b[:])
	return x
}

// Complete is how a handler commits what a call does so that it is done exactly once: write
// is to put the record into the same transaction of the handler's store as the effect. It must
// fail, and with it the transaction, if the store has a record with that XID already. The
// method has a [Lookup], which is asked before the handler runs, and whenever it fails: so the
// transaction must be over when the handler returns. The handler returns the result that it
// has completed.
//
//	err = db.Update(func(tx *Tx) error {
//		balance = tx.Deduct(a.Account, a.Amount)
//		return rpc.Complete(ctx, balance, func(r rpc.Record) error { return tx.Insert(r.XID, r.Reply) })
//	})
//	return balance, err
//
// The store may forget a record when nobody will ask for it any more: who called has its
// result, and no call with its id is on its way.
func Complete[R any](ctx context.Context, result R, write func(Record) error) error {
	c, ok := ctx.Value(completionKey{}).(*completion)
	if !ok {
		return errors.New("completion: the method has no Lookup")
	}
	k, err := c.codecs.For(reflect.TypeFor[R]())
	if err != nil {
		return fmt.Errorf("completion: %w", err)
	}
	reply, err := k.Append([]byte{k.ID()}, result)
	if err != nil {
		return fmt.Errorf("completion: %w", err)
	}
	if err := write(Record{c.id, reply}); err != nil {
		return err
	}
	c.done = true
	return nil
}

type completionKey struct{}

// completion is the context of a handler that keeps records.
type completion struct {
	context.Context //nolint:containedctx // it is one
	codecs          *codec.Codecs
	id              XID
	done            bool
}

// Value implements [context.Context].
func (c *completion) Value(key any) any {
	if key == (completionKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// asKey has the id that the caller of a call within the process has given to it.
type asKey struct{}

// idOf is the identity of the call that a context belongs to.
func idOf(ctx context.Context) XID {
	if j := server.FromContext(ctx); j != nil {
		return j.XID()
	}
	if id, ok := ctx.Value(asKey{}).(XID); ok {
		return id
	}
	return NewXID()
}

// recalling is how long a record may be looked for after its handler has failed, whose own
// time may be over.
const recalling = time.Second

// once is a handler that does nothing that it has done already.
func once[A, R any](s *Server, find Lookup, h func(context.Context, A) (R, error)) func(context.Context, A) (R, error) {
	return func(ctx context.Context, a A) (R, error) {
		c := &completion{Context: ctx, codecs: s.codecs, id: idOf(ctx)}
		if r, found, err := recall[R](c, find); found || err != nil {
			return r, err
		}
		r, err := recovered(c, s.opts.Log, a, h)
		if err == nil && c.done {
			return r, nil
		}
		if err == nil {
			err = errors.New("handler has completed nothing")
		}
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recalling)
		defer cancel()
		c.Context = after
		if r, found, e := recall[R](c, find); found || e != nil {
			return r, e
		}
		return *new(R), err
	}
}

// recovered runs a handler. That it panics says nothing about what it has done.
func recovered[A, R any](ctx context.Context, log *slog.Logger, a A, h func(context.Context, A) (R, error)) (r R, err error) {
	defer func() {
		if p := recover(); p != nil {
			if log != nil {
				log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
			}
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return h(ctx, a)
}

// recall returns what has come of a call, if it has taken place.
func recall[R any](c *completion, find Lookup) (r R, found bool, err error) {
	reply, found, err := find(c, c.id)
	if err != nil {
		return r, false, &codedError{Lost, fmt.Errorf("nobody knows whether it has taken place: %w", err)}
	}
	if !found {
		return r, false, nil
	}
	if len(reply) == 1 && reply[0] == voided {
		return r, true, Fail(Void, nil, "the call's id was closed before it took place")
	}
	k, err := c.codecs.For(reflect.TypeFor[R]())
	switch {
	case err != nil:
	case len(reply) == 0 || reply[0] != k.ID():
		err = fmt.Errorf("its record is none of a %v", reflect.TypeFor[R]())
	default:
		err = decode(k, append([]byte(nil), reply[1:]...), &r)
	}
	if err != nil {
		return r, true, &codedError{ReplyLost, fmt.Errorf("it has taken place: %w", err)}
	}
	return r, true, nil
}
