// Package rpc calls functions in other processes: at most once, and with the truth about
// what has become of a call that returned no result.
//
//	s, err := rpc.NewServer(rpc.ServerOptions{})
//	rpc.Handle(s, "Snprintf", func(ctx context.Context, a Args) (string, error) { … })
//	go s.Serve(listener)
//
//	c, err := rpc.Dial(rpc.ClientOptions{}, "unix:/run/lib.sock")
//	text, err := rpc.Call[string](ctx, c, "Snprintf", Args{64, "The answer is %d", 42})
//
// # What is promised
//
// A call that returns a result has run exactly once. One that returns an [*Error] says
// whether it ran: [NotExecuted], [Executed] or [Indeterminate]; an indeterminate one will not
// start any more. The library sends again whatever it likes, over as many connections as
// it takes: the server knows each call by its number, and runs none twice. A call that was
// sent does not go to another server, unless it is [Idempotent].
//
// A call has its effect exactly once if its handler records it together with that ([Complete]),
// and its client asks until it knows ([ExactlyOnce]).
//
// # Layers
//
//	rpc           types, codecs, errors, groups
//	rpc/client    calls of one client        rpc/server   table, queue, handlers
//	rpc/session   the state machines of both, pure
//	rpc/wire      their messages as frames
//	rpc/conn      connections
//	rpc/frame     bytes
//
// It owns what client and server own. What a crash loses is theirs to say.
package rpc
