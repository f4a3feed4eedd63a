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
	// MessageMemory bounds what messages of clients take while they arrive and their
	// calls run, over all connections, bytes: half of it is for long ones, and for RPCs of gRPC, and the other half
	// for connections, which bounds their number. A native message waits for its turn, one of gRPC is
	// refused. At least 160 MiB. Default: each connection has bounds of its own, and their sum has none.
	MessageMemory uint64
	// ResultMemory bounds what results take on their way from workers to clients, bytes: half of it is for
	// those that are being sent, which wait in their workers while there is no room, and half for short ones in the queues of
	// native connections. At least 128 MiB. Default: nothing bounds their sum.
	ResultMemory uint64
	Token        func([]byte) error // checks a client's credentials. Default: all are welcome
	Allow        server.Allow       // what clients may call. Default: everything
	NoGRPC       bool               // clients that speak gRPC are closed. Default: they are served, by the same listeners
	Metrics      *Metrics           // of this server alone. Default: none
	Log          *slog.Logger       // default: none

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

// What a connection takes where memory for messages is bounded, bytes.
const (
	// window is what a native one may have sent that its server has not let go of, and what its queue takes.
	window = conn.DefaultWindow
	// overHTTP2 is what one of gRPC takes for itself.
	overHTTP2 = 128 << 10
	// grpcShare is the part of memory for connections that is for those of gRPC.
	grpcShare = 8
)

// rooms are what bounds messages.
type rooms struct {
	messages *conn.Room // of clients; nil: nothing does
	results  *conn.Room // on their way to clients; the same
	native   int        // connections; 0: as many as ever
	grpc     int        // the same
}

// rooms shares memory out. Calls have room for their messages until they have ended, and end when
// there is room for their results: so these must not be the same, or calls would wait for themselves.
func (o *Options) rooms() (r rooms) {
	if half := o.MessageMemory / 2; half > 0 {
		r.messages, r.native = conn.NewRoom(int(half)), int(half/window)
		if !o.NoGRPC {
			r.native -= r.native / grpcShare
			r.grpc = int(half / grpcShare / overHTTP2)
		}
	}
	if half := o.ResultMemory / 2; half > 0 {
		r.results = conn.NewRoom(int(half))
		if most := int(half / window); r.native == 0 || most < r.native {
			r.native = most
		}
	}
	return r
}

// bound bounds what native clients take.
func (r *rooms) bound(s *conn.ServerOptions) {
	if s.MaxConns = r.native; r.messages != nil {
		s.Conn.Room, s.Conn.Window, s.Conn.MaxWindow = r.messages, window, window
	}
	if r.results != nil {
		s.Conn.MaxQueue = window / 2 // its buffers are half empty at worst
	}
}
