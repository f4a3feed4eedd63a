package calls

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/workers"
)

// Options of a Server. Listeners and Starter must be set; the zero value of each other
// field means its default.
type Options struct {
	Listeners    []net.Listener  // for clients; the server closes them
	Starter      workers.Starter // of the workers; the caller closes it, after the server
	Workers      int             // that serve; one more is kept as a spare. Default 1
	Concurrency  int             // calls that run in a worker at once. Default 1
	Journal      string          // file that keeps the table of calls over a crash. Default: none does
	JournalSize  int64           // bytes, of a journal that is made. Default 16 MiB
	MaxTimeout   time.Duration   // of calls, also of those that say none. Default: none
	KillGrace    time.Duration   // for a call to end after its deadline, or when nobody wants it any more, before its worker is killed. Default 2 s
	StartTimeout time.Duration   // for a worker to become ready. Default 30 s
	DrainTimeout time.Duration   // for calls that run when the server is told to stop; 0: their workers are ended at once
	TCP          conn.TCP        // of clients
	TLS          *tls.Config     // clients over TCP must speak it. Default: they cannot
	Blobs        BlobOptions
	// MessageMemory bounds what messages of native clients take while they arrive and their
	// calls run, over all connections, bytes: half of it is for long ones, which wait for their
	// turn, and the other half for the windows of connections, which bounds their number. At
	// least 128 MiB. Default: each connection has bounds of its own, and their sum has none.
	MessageMemory uint64
	Token         func([]byte) error // checks a client's credentials. Default: all are welcome
	Allow         server.Allow       // what clients may call. Default: everything
	NoGRPC        bool               // clients that speak gRPC are closed. Default: they are served, by the same listeners
	Metrics       *Metrics           // of this server alone. Default: none
	Log           *slog.Logger       // default: none

	devices *devices // nil: no RDMA devices were promised
}

func (o *Options) fill() error {
	if len(o.Listeners) == 0 || o.Starter == nil || o.JournalSize < 0 || o.DrainTimeout < 0 {
		return errors.New("bad options of a server of calls: Listeners and Starter must be set, nothing may be negative")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// window is what a connection may have sent that its server has not let go of, bytes, where
// memory for messages is bounded.
const window = conn.DefaultWindow

// bound bounds what messages take.
func (o *Options) bound(s *conn.ServerOptions) {
	if o.MessageMemory == 0 {
		return
	}
	half := o.MessageMemory / 2
	s.MaxConns = int(half / window)
	s.Conn.Room, s.Conn.Window, s.Conn.MaxWindow = conn.NewRoom(int(half)), window, window
}
