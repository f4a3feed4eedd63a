// Bench-rpc measures echo calls against other RPC libraries of Go and against
// the socket itself, and prints a table of ratios.
//
//	go run . [-rounds 7] [-time 150ms] [-peers raw,calls,…] [-only unix/64B/1]
//
// Each server is a process of its own. The peers take turns, round by round, on
// the same machine in the same run, and the median counts: what else the machine
// does meanwhile hits all of them. Rows that we lose stay.
//
// Everybody has its fastest way to carry bytes: a codec that copies bytes where a
// library lets one be set (calls, frames, grpc, drpc, connect), protobuf's BytesValue
// (ttrpc), Cap'n Proto's Data, read through a buffer (capnp), or gob (net/rpc) where
// not. raw is a socket for each caller that carries the body alone; raw-relay has
// another process between the two, as calls-isolated has. drpc takes one call
// per connection at a time, and gets a connection for each caller; all others share one.
// capnp's server takes one call at a time for each object that it serves.
//
// calls are package rpc's: at most once, in a table; calls-inline say that the connection's
// reader may always run them, which it does with others as long as they are quick and come
// one by one; calls-journal have a journal; calls-isolated run in a worker, a process behind
// the server's, whose processor time and allocations are not counted. frames are package
// conn's alone, which only matches replies to calls: what is between it and calls is the price
// of at-most-once.
//
// Behind the table, small calls beside bulk over the same client, and calls at a fixed rate,
// each counted from when it was due.
package main
