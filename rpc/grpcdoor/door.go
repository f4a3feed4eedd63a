package grpcdoor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"rpcpool.dev/rpc/conn"
	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
)

// Options of a Door. The zero value of each field means its default.
type Options struct {
	Admit      Admit         // decides about clients. Default: all are admitted
	Lease      time.Duration // of sessions: the core's. Default 5 min
	MaxOpen    int           // calls of a session that may be open: the core's. Default 512
	MaxMessage int           // longest message, in bytes, either way. Default 64 MiB and what is around it
	MaxStreams int           // RPCs that one connection may have open. Default 1024
	MaxConns   int           // at the same time. Default 16,384
	Room       *conn.Room    // for messages of clients, which are refused while there is none. At least MaxMessage. Default: nothing bounds their sum
	IdleAfter  time.Duration // clients without RPCs are sent away after it. Default 5 min
}

func (o *Options) setDefaults() {
	set(&o.Lease, 5*time.Minute)
	set(&o.MaxOpen, 512)
	set(&o.MaxMessage, conn.DefaultMaxMessage+64<<10)
	set(&o.MaxStreams, 1024)
	set(&o.MaxConns, 1<<14)
	set(&o.IdleAfter, 5*time.Minute)
}

func set[T int | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// Door takes clients that speak gRPC.
type Door struct {
	core   *server.Core
	opts   Options
	server *grpc.Server
	health *health.Server
	conns  atomic.Int64
	probes atomic.Int64 // RPCs that ask for health

	mu    sync.Mutex
	lines map[key]*line
}

// New makes a door of a core. It must be closed, before the core is.
func New(core *server.Core, opts Options) (*Door, error) {
	if opts.Lease < 0 || opts.MaxOpen < 0 || opts.MaxMessage < 0 || opts.MaxStreams < 0 || opts.MaxStreams > math.MaxInt32 || opts.MaxConns < 0 || opts.IdleAfter < 0 {
		return nil, errors.New("bad options of a gRPC door: something is negative, or too much")
	}
	opts.setDefaults()
	if opts.Room != nil && opts.Room.Size() < opts.MaxMessage+chunk+allowance {
		return nil, fmt.Errorf("bad options of a gRPC door: Room of %d bytes, for messages of up to %d", opts.Room.Size(), opts.MaxMessage)
	}
	d := &Door{core: core, opts: opts, health: health.NewServer(), lines: map[key]*line{}}
	d.server = grpc.NewServer(d.serverOptions()...)
	d.server.RegisterService(d.description(), calls{door: d})
	healthpb.RegisterHealthServer(d.server, d.health)
	reflection.Register(d.server)
	d.SetServing(true)
	return d, nil
}

// serverOptions are those of grpc-go. A dead client is found within 20 s; one that pings
// more often than every 10 s is sent away.
func (d *Door) serverOptions() []grpc.ServerOption {
	list := []grpc.ServerOption{
		grpc.Creds(portCredentials{}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(d.opts.MaxMessage),
		grpc.MaxSendMsgSize(d.opts.MaxMessage),
		grpc.MaxConcurrentStreams(uint32(d.opts.MaxStreams)),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: d.opts.IdleAfter, Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.ChainUnaryInterceptor(d.admitUnary),
		grpc.ChainStreamInterceptor(d.admitStream),
		grpc.WaitForHandlers(true),
	}
	if d.opts.Room == nil {
		return list
	}
	return append(list,
		grpc.MaxRecvMsgSize(allowance), // of other services than ours
		grpc.StaticStreamWindowSize(allowance),
		grpc.StaticConnWindowSize(chunk),
		grpc.InTapHandle(d.enter),
	)
}

// description is that of the service.
func (d *Door) description() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: pb.Calls_ServiceDesc.ServiceName,
		HandlerType: (*pb.CallsServer)(nil),
		Methods: []grpc.MethodDesc{
			described(d, "Open", calls.Open), described(d, "Invoke", calls.Invoke), described(d, "Cancel", calls.Cancel),
			described(d, "Ack", calls.Ack), described(d, "Renew", calls.Renew), described(d, "Close", calls.Close),
		},
		Metadata: pb.Calls_ServiceDesc.Metadata,
	}
}

// Serve accepts from l until l or the door is closed. It closes l.
func (d *Door) Serve(l net.Listener) error {
	if err := d.server.Serve(&counter{l, d, int64(d.opts.MaxConns)}); err != nil {
		return fmt.Errorf("gRPC: %w", err)
	}
	return nil
}

// SetServing sets what health checks are told: of the server (""), and of the service.
func (d *Door) SetServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	d.health.SetServingStatus("", status)
	d.health.SetServingStatus(pb.Calls_ServiceDesc.ServiceName, status)
}

// Shutdown sends all clients away, and waits until their RPCs have ended or ctx has. It
// closes the door.
func (d *Door) Shutdown(ctx context.Context) error {
	d.health.Shutdown()
	stop := context.AfterFunc(ctx, d.server.Stop)
	defer stop()
	d.server.GracefulStop()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("RPCs were ended: %w", context.Cause(ctx))
	}
	return nil
}

// Close ends all RPCs at once. The calls that they are about go on.
func (d *Door) Close() error {
	d.health.Shutdown()
	d.server.Stop()
	return nil
}

// newKey makes a session's identity and secret. That crypto/rand fails ends the program.
func newKey(seq uint64) (k key) {
	_, _ = rand.Read(k.session[:])
	_, _ = rand.Read(k.secret[:])
	k.seq = seq
	return k
}
