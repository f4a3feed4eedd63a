package conn

import "errors"

// Errors of a connection.
var (
	// ErrClosed: this side has closed the connection.
	ErrClosed = errors.New("connection is closed")
	// ErrPeerClosed: the peer has closed the connection, between two frames.
	ErrPeerClosed = errors.New("peer has closed the connection")
	// ErrCut: the connection ended inside a frame.
	ErrCut = errors.New("connection is cut")
	// ErrEPIPE: the peer takes nothing any more (EPIPE, ECONNRESET).
	ErrEPIPE = errors.New("connection is broken")
	// ErrSlowPeer: the peer did not take what it was sent for the write timeout.
	ErrSlowPeer = errors.New("peer does not read")
	// ErrSilentPeer: the peer answered no ping.
	ErrSilentPeer = errors.New("peer is silent")
	// ErrGoingAway: the connection takes no new calls.
	ErrGoingAway = errors.New("connection is going away")
	// ErrBackpressure: the queue of the connection is full.
	ErrBackpressure = errors.New("send queue is full")
	// ErrTooLong: the peer takes no message of that length.
	ErrTooLong = errors.New("message is too long for the peer")
)

// Errors of a pool.
var (
	// ErrNoServer: no server of the service can be reached. Nothing was sent.
	ErrNoServer = errors.New("no server")
	// ErrBackoff: the server failed a moment ago and is left alone.
	ErrBackoff = errors.New("server failed and is left alone for now")
	// ErrRemoved: the server is not in the list any more.
	ErrRemoved = errors.New("server is removed")
)
