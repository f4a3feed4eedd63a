// Bench-rpc measures echo calls against other RPC libraries of Go and against
// the socket itself, and prints a table of ratios.
//
//	go run . [-rounds 7] [-time 150ms] [-peers raw,native,…] [-only unix/64B/1]
//
// Each server is a process of its own. The peers take turns, round by round, on
// the same machine in the same run, and the median counts: what else the machine
// does meanwhile hits all of them. Rows that we lose stay.
//
// Everybody has its fastest way to carry bytes: a codec that copies bytes where a
// library lets one be set (native, grpc, drpc, connect), protobuf's BytesValue
// (ttrpc) or gob (net/rpc) where not. raw is a socket for each caller that carries
// the body alone. drpc takes one call per connection at a time, and gets a
// connection for each caller; all others share one.
//
// native answers in the connection's reader, native-go in a goroutine for each
// call. Both do nothing but match replies to calls: there is no dedup yet.
package main
