package calls

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/workers/direct"
)

// BenchmarkConnect is the time until a new client's handshake is over, over a listener
// that only native clients have, and over one that they share with gRPC.
func BenchmarkConnect(b *testing.B) {
	for name, noGRPC := range map[string]bool{"alone": true, "shared": false} {
		b.Run("native/"+name, func(b *testing.B) {
			addr := benchServer(b, noGRPC)
			for b.Loop() {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					b.Fatal(err)
				}
				c, err := conn.Connect(b.Context(), nc, frame.Hello{Codecs: 7}, deaf{}, conn.Options{})
				if err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
	b.Run("grpc", func(b *testing.B) {
		addr := benchServer(b, false)
		for b.Loop() {
			cc, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := healthpb.NewHealthClient(cc).Check(b.Context(), &healthpb.HealthCheckRequest{}); err != nil {
				b.Fatal(err)
			}
			_ = cc.Close()
		}
	})
}

type deaf struct{}

func (deaf) Message(conn.Peer, *conn.In)       {}
func (deaf) Closed(conn.Peer, error, []uint64) {}

func benchServer(b *testing.B, noGRPC bool) string {
	b.Helper()
	starter, err := direct.New(direct.Command{Path: "/bin/false"})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{Listeners: []net.Listener{l}, Starter: starter, NoGRPC: noGRPC})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(b.Context()) }()
	b.Cleanup(func() {
		if err := <-ended; err != nil {
			b.Error(err)
		}
		_ = starter.Close()
	})
	return l.Addr().String()
}
