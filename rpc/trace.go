package rpc

import (
	"context"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/wire"
)

// WithTrace is a context whose calls carry a W3C trace context, to servers, their workers, and
// what these call with their handlers' contexts: traceparent is as in the header of that name. What
// is none is passed over.
//
//	ctx = rpc.WithTrace(ctx, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
func WithTrace(ctx context.Context, traceparent string) context.Context {
	if t := wire.ParseTrace(traceparent); t != nil {
		return context.WithValue(ctx, wire.TraceKey{}, t)
	}
	return ctx
}

// TraceFrom returns the traceparent that [WithTrace] or, in a handler, its caller has given;
// empty if there is none.
func TraceFrom(ctx context.Context) string { return wire.FormatTrace(wire.TraceOf(ctx)) }

// XIDFrom returns a handler's call's identity, the same whenever the call is sent again: for logs,
// and for handlers that recognise duplicates themselves. It is zero outside of a handler, and
// within the process ([Server.Local]), where nothing is sent, unless the call is made
// [ExactlyOnce].
func XIDFrom(ctx context.Context) XID {
	if j := server.FromContext(ctx); j != nil {
		return j.XID()
	}
	id, _ := ctx.Value(asKey{}).(XID)
	return id
}
