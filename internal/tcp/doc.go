// Package tcp holds the socket options and listeners that every TCP server of
// rpcpool shares.
//
// It owns no state: a crash loses nothing.
//
// Stock TVM peers write the length of a frame and its body in two sends and
// leave Nagle's algorithm on; against a peer that delays its ACKs every call
// then costs two delayed-ACK timers (about 44 ms each on Linux). [Conn] sends
// each reply at once (TCP_NODELAY) and acknowledges at once (TCP_QUICKACK is
// re-armed around every read, because the kernel clears it again by itself).
//
// A peer whose host vanishes sends neither FIN nor RST. [Tune] bounds the time
// until the kernel says so, idle or with data in flight, to about
// [DeadPeerAfter].
package tcp
