package conn

import (
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/rpc/frame"
)

// DefaultMaxMessage is [Options].MaxMessage where nothing else is said, bytes.
const DefaultMaxMessage = 64 << 20

// DefaultWindow is [Options].Window where nothing else is said, bytes.
const DefaultWindow = 4 * frame.MessageAllowance

// Options of a connection. The zero value of each field means its default.
type Options struct {
	MaxFrame    int           // longest body of a frame that is taken, bytes. Default 256 KiB
	MaxMessage  int           // longest message that is taken, bytes. Default 64 MiB
	MaxAssembly int           // long messages that are being taken, bytes in all. Default: MaxMessage
	Room        *Room         // for long messages of all connections that have it too. Default: each has its own
	MaxQueue    int           // what waits to be sent, bytes. Default 4 MiB
	Window      int           // first window, bytes. Default 1 MiB
	MaxWindow   int           // largest window, bytes. Default 16 MiB
	Checksum    bool          // frames have checksums: for plain TCP between nodes
	Handshake   time.Duration // for all of it. Default 5 s
	Write       time.Duration // for a full socket to take anything. Default 20 s
	Linger      time.Duration // for the last words of a broken connection. Default 1 s
	Keepalive   Keepalive
	TCP         TCP
	Ring        bool // bytes go by memory, if the peer is on the other end of a Unix socket and can do so, too. Default: by the socket
	// Waiting is how many wait for messages, for [Conn.ReadUntil]: callers until they have seen their
	// answer, and calls that nobody reads for until that has come. Default: as many as hold the connection.
	Waiting func() int
}

// TCP is how the kernel finds out that a peer over TCP is gone. The zero value of each
// field means its default. What was sent and is not acknowledged is given up after
// KeepAlive and all Probes.
type TCP struct {
	KeepAlive time.Duration // after so long without traffic a probe is sent; at most 32,767 s. Default 10 s
	Interval  time.Duration // between probes; at most 32,767 s. Default 5 s
	Probes    int           // that are not answered, then the connection is dead; at most 127. Default 2
}

// mostTCP is the longest time that the kernel takes.
const mostTCP = 32767 * time.Second

func (t *TCP) setDefaults() {
	setTime(&t.KeepAlive, tcp.KeepAliveIdle)
	setTime(&t.Interval, tcp.KeepAliveInterval)
	setInt(&t.Probes, tcp.KeepAliveCount)
}

// Check fails on what the kernel does not take.
func (t TCP) Check() error {
	t.setDefaults()
	switch {
	case t.KeepAlive < time.Second || t.KeepAlive > mostTCP:
		return fmt.Errorf("keepalive time of TCP: %v is not between 1s and %v", t.KeepAlive, mostTCP)
	case t.Interval < time.Second || t.Interval > mostTCP:
		return fmt.Errorf("keepalive interval of TCP: %v is not between 1s and %v", t.Interval, mostTCP)
	case t.Probes < 1 || t.Probes > 127:
		return fmt.Errorf("keepalive probes of TCP: %d is not between 1 and 127", t.Probes)
	}
	return nil
}

// Keepalive finds out that a peer is gone, while something is outstanding.
type Keepalive struct {
	Silence time.Duration // after so long a ping is sent. Default 10 s
	Answer  time.Duration // after so long without an answer another one is; and again, then the peer is dead. Default 5 s
}

// bound is when a silent peer is dead.
func (k Keepalive) bound() time.Duration { return k.Silence + 2*k.Answer }

// withDefaults fills in what is not set, and fails on what cannot be.
func (o Options) withDefaults() (Options, error) {
	setInt(&o.MaxFrame, frame.DefaultMaxFrame)
	setInt(&o.MaxMessage, DefaultMaxMessage)
	setInt(&o.MaxAssembly, o.MaxMessage)
	setInt(&o.MaxQueue, 4<<20)
	setInt(&o.Window, DefaultWindow)
	setInt(&o.MaxWindow, max(16<<20, o.Window))
	setTime(&o.Handshake, 5*time.Second)
	setTime(&o.Write, 20*time.Second)
	setTime(&o.Linger, time.Second)
	setTime(&o.Keepalive.Silence, 10*time.Second)
	setTime(&o.Keepalive.Answer, 5*time.Second)
	if err := o.TCP.Check(); err != nil {
		return o, fmt.Errorf("bad options: %w", err)
	}
	switch {
	case o.MaxFrame < frame.MinMaxFrame || o.MaxFrame > frame.LimitMaxFrame:
		return o, fmt.Errorf("bad option MaxFrame: %d is not within %d..%d", o.MaxFrame, frame.MinMaxFrame, frame.LimitMaxFrame)
	case o.MaxMessage < o.MaxFrame || o.MaxAssembly < o.MaxMessage:
		return o, fmt.Errorf("bad options: MaxFrame %d, MaxMessage %d and MaxAssembly %d must not shrink", o.MaxFrame, o.MaxMessage, o.MaxAssembly)
	case o.Room != nil && o.Room.size < o.MaxMessage:
		return o, fmt.Errorf("bad options: Room of %d bytes, for messages of up to %d", o.Room.size, o.MaxMessage)
	case o.Window < frame.MessageAllowance || o.Window < o.MaxFrame+frame.HeaderLen+frame.MaxExt && o.Window != frame.MessageAllowance || o.MaxWindow < o.Window:
		return o, fmt.Errorf("bad options: Window %d, MaxWindow %d", o.Window, o.MaxWindow)
	case o.MaxQueue < 0 || o.Handshake < 0 || o.Write < 0 || o.Linger < 0 || o.Keepalive.Silence < 0 || o.Keepalive.Answer < 0:
		return o, errors.New("bad options: something is negative")
	}
	return o, nil
}

func setInt(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

func setTime(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

// limits is what the handshake says of o.
func (o *Options) limits() frame.Limits {
	return frame.Limits{MaxFrame: uint32(o.MaxFrame), MaxMessage: uint64(o.MaxMessage), Window: uint64(o.Window)}
}
