package tracker

import (
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Defaults of [Options].
const (
	DefaultMaxConns         = 16384
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultFrameTimeout     = 30 * time.Second
	DefaultWriteTimeout     = 30 * time.Second
	DefaultHungAfter        = 10 * time.Second
)

// Clock tells the time. It must be monotonic, as [time.Now] is.
type Clock interface {
	Now() time.Time
}

// Options of a [Server]. The zero value is a stock tracker's behaviour with the
// defaults of this package.
type Options struct {
	// Clock is the wall clock by default. Deadlines of connections do not follow
	// it: the kernel keeps those.
	Clock Clock
	// Logger gets registrations, departures and what bad peers did; default: no
	// log.
	Logger *slog.Logger
	// Metrics counts; default: nothing does. It belongs to one server.
	Metrics *Metrics
	// StopKey is the secret that lets a peer stop the tracker by STOP; empty:
	// nobody can.
	StopKey string
	// FairShare serves requests of the same priority by client (source address):
	// first the one that holds the fewest devices of the key. Off is TVM's order:
	// by arrival.
	FairShare bool
	// MaxConns bounds the open connections; more are closed at once. Default:
	// [DefaultMaxConns]. It is lowered, with a line in the log, to what the
	// process's limit of open files (RLIMIT_NOFILE) has room for.
	MaxConns int
	// HandshakeTimeout bounds the time from accept to the magic.
	HandshakeTimeout time.Duration
	// FrameTimeout bounds the time from the first byte of a frame to its last.
	FrameTimeout time.Duration
	// WriteTimeout bounds the time in which a peer that reads slowly must take
	// the next piece of what it is sent.
	WriteTimeout time.Duration
	// HungAfter is the silence after which a server counts as hung: one of ours
	// whatever it does, a stock one if it is known to poll and has an offer to
	// poll for.
	HungAfter time.Duration
	// Settle is how long after Serve has begun requests are queued and nothing is
	// granted, so that the servers and clients of a tracker that was here before
	// are back when priorities are compared. Default: none.
	Settle time.Duration
	// Native is given the connections of native clients (package rpc), which come to the
	// same port and begin with another magic. It must close each; when the tracker
	// stops, they fail. It may be called from many goroutines, and should not wait.
	// Default: they are refused like all that is no tracker's client.
	Native func(net.Conn)
	// NativeTLS ends the TLS of native clients. Native is given those without it as well,
	// as TLS that fails: nothing can be read but why. Stock clients go on without.
	// Default: native clients have none, and Native is given ClientHellos.
	NativeTLS *tls.Config
	// Changed is called with a device key after servers of the key registered,
	// left or changed their state, and after the number of its waiting requests
	// changed; when the tracker has settled, with each key that it knows and then
	// with the empty one, which stands for all others. Default: nobody is told.
	//
	// It is called from one goroutine, without a lock, and never at the same time
	// as itself. While it runs nothing waits for it; what changes meanwhile is told
	// once afterwards; only Serve does not return before it has. It is not called when only time makes a difference: a
	// server that has fallen silent becomes [StateHung], or a stock one busy after
	// a grant. Who needs to know that looks again every few seconds.
	Changed func(key string)
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = wallClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	o.HandshakeTimeout = positive(o.HandshakeTimeout, DefaultHandshakeTimeout)
	o.FrameTimeout = positive(o.FrameTimeout, DefaultFrameTimeout)
	o.WriteTimeout = positive(o.WriteTimeout, DefaultWriteTimeout)
	o.HungAfter = positive(o.HungAfter, DefaultHungAfter)
	return o
}

// reservedDescriptors are left for all that is no connection: listeners,
// metrics, logs, and the connections that are just being refused.
const reservedDescriptors = 64

// affordable returns how many of the wanted connections fit the descriptors. It
// leaves half of them where there are hardly any.
func affordable(wanted, descriptors int) int {
	return max(1, min(wanted, descriptors-min(reservedDescriptors, descriptors/2)))
}

func positive(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

type wallClock struct{}

// Now implements [Clock].
func (wallClock) Now() time.Time { return time.Now() }
