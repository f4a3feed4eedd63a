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

	mu    sync.Mutex
	lines map[key]*line
}

// New makes a door of a core. It must be closed, before the core is.
func New(core *server.Core, opts Options) (*Door, error) {
	if opts.Lease < 0 || opts.MaxOpen < 0 || opts.MaxMessage < 0 || opts.MaxStreams < 0 || opts.MaxStreams > math.MaxInt32 || opts.MaxConns < 0 || opts.IdleAfter < 0 {
		return nil, errors.New("bad options of a gRPC door: something is negative, or too much")
	}
	opts.setDefaults()
	d := &Door{core: core, opts: opts, health: health.NewServer(), lines: map[key]*line{}}
	d.server = grpc.NewServer(d.serverOptions()...)
	pb.RegisterCallsServer(d.server, calls{door: d})
	healthpb.RegisterHealthServer(d.server, d.health)
	reflection.Register(d.server)
	d.SetServing(true)
	return d, nil
}

// serverOptions are those of grpc-go. A dead client is found within 20 s; one that pings
// more often than every 10 s is sent away.
func (d *Door) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(portCredentials{}),
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
}

// Serve accepts from l until l or the door is closed. It closes l.
func (d *Door) Serve(l net.Listener) error {
	if err := d.server.Serve(&counter{l, &d.conns, int64(d.opts.MaxConns)}); err != nil {
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
