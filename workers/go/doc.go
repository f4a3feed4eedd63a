// Package worker is the program that serves sessions: TVM's RPC session loop,
// server side, with functions that are ordinary Go functions.
//
// A whole worker:
//
//	s := worker.New(tvm.FlavourC)
//	err := s.Register("addone", func(x int64) int64 { return x + 1 })
//	…
//	os.Exit(worker.Main(s))
//
// [Main] follows the worker contract: an agent starts the process, hands it a
// session that has already shaken hands, and learns from the exit status how it
// ended. In Fork isolation a process serves one session, cold or warm:
//
//	cold (RPCPOOL_SESSION=fd)        session is descriptor 3 ─────────┐
//	                                                                  ▼
//	warm (RPCPOOL_SESSION=unix)      write R ─▶ Spare ── S + fd ──▶ Serving
//	                                              │ EOF               │
//	                                              ▼                   │ kShutdown, EOF between packets,
//	                                            exit 0                │ client gone: exit 0
//	                                                                  │ protocol broken: exit 76
//	                                                                  │ any other failure: exit 1
//	                                                                  ▼ killed by a bad function: as it died
//
// In Watchdog isolation it serves sessions itself, one after another, each in a
// work directory of its own, and ends itself at a session's deadline (package
// [rpcpool.dev/workers/go/watchdog]); the agent starts it again:
//
//	long-lived (RPCPOOL_SESSION=watchdog)  write R ─▶ Waiting ── S + fd ──▶ Serving ── deadline ──▶ exit 0, at once
//	                                                  │   ▲                   │  │
//	                                                  │   └───── write R ─────┘  │ killed by a bad function,
//	                                              EOF │     (PR: protocol broken)│ any other failure
//	                                                  ▼                          ▼
//	                                                exit 0                     as above
//
// Nothing of a session is left for the next one in this package: handles,
// arrays, files, environment. What a function of the program keeps, it keeps.
//
// A supervisor that asks for heartbeats (package
// [rpcpool.dev/workers/go/notify]) gets them from the session's loop: while it
// waits for a session or for the client, and after each packet. While a function
// runs none are expected, for the rest of the session's time, unless it calls
// [Session.Beat] or [Session.Extend].
//
// The session itself, from [Server.ServeConn]:
//
//	            kInitServer, version "0.8.0", no arguments
//	AwaitInit ────────────────────────────────────────────▶ Ready ──▶ one reply per request, in order
//	    │ wrong version, constructor arguments, anything else
//	    └─▶ kException, closed
//
// It owns the session's handles: functions, and arrays in the worker's memory.
// They are the session's and end with it. A crash loses the session and nothing
// else; that is what a worker is for.
//
// What is an error of the call and what is the end of the session: a request
// that can be decoded and cannot be done (unknown handle, wrong argument, array
// access out of bounds, an error or a panic in a function) is answered by
// kException and the session goes on. Bytes that are not the protocol end the
// session ([ErrProtocol]). A panic on the goroutine that serves the call is
// caught because it unwinds cleanly; what does not unwind (a fault in native
// code, a panic on another goroutine, a fatal error of the runtime) kills the
// process, and the supervisor tells the client so.
//
// Nothing is allocated on a peer's word alone: a packet's buffer grows as its
// bytes arrive, arrays are bounded by [Limits], and the bytes of an array go
// straight between the socket and the array.
package worker
