// Package client is the client side of TVM's RPC session: it calls functions,
// moves files and copies arrays on a server, over one connection, one request
// at a time.
//
//	s, err := client.Request(ctx, "tracker:9190", "rk3588", client.Options{Timeout: 10 * time.Second})
//	…
//	defer s.Close()
//	sum, err := s.Call(ctx, "add", 1, 2)
//
// A session:
//
//	           handshake, kInitServer
//	Dial ─────────────────────────────▶ Open ── Close ──▶ Closed
//	  │ MISMATCH: ErrMismatch            │
//	  │ kException: *RemoteError         ├─ kException: *RemoteError, the session goes on
//	  ▼                                  ├─ EOF, reset: ErrSessionLost ─────────┐
//	Request asks the tracker again       └─ ctx done, reply unreadable: error ──┴─▶ Lost
//
// The protocol has no request ids and no way to withdraw a request, so a call
// that is abandoned takes its session with it. A session that is lost answers
// every later call with [ErrSessionLost]; whether the call that was outstanding
// was executed is not known.
//
// It owns its connection. A crash of the client loses nothing else: the server
// sees the connection close, and ends the session.
package client
