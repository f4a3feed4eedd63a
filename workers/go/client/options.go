package client

import (
	"time"

	"rpcpool.dev/tvm"
)

// Options are what a client asks for. The zero value asks for what a stock
// client does if it is told nothing.
type Options struct {
	// Timeout is how long the server lets the session last (its -timeout=);
	// 0 leaves it to the server.
	Timeout time.Duration
	// Flavour is the session protocol's. With FlavourAuto, the zero value, it is
	// C unless the server's first answer shows that it speaks A. With any other
	// it is an error if the server visibly speaks another.
	Flavour tvm.Flavour
	// DialTimeout bounds the connecting and the handshake, each time; 0 means
	// 10 s. The server may take longer to answer kInitServer, while its worker
	// starts: only the context bounds that.
	DialTimeout time.Duration
	// Priority orders the tracker's queue, higher first. Stock clients send 1,
	// and so does a zero.
	Priority float64
	// MaxRetry is how often Request asks the tracker before it gives up; 0
	// means 5.
	MaxRetry int
	// InitArgs name a session constructor and its arguments; empty for a plain
	// session.
	InitArgs []tvm.Value
}

func (o Options) withDefaults() Options {
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	if o.Priority == 0 {
		o.Priority = 1
	}
	if o.MaxRetry == 0 {
		o.MaxRetry = 5
	}
	return o
}
