package grpcdoor

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/session"
)

// Admit decides about an RPC. token is what its metadata has as authorization: Bearer;
// nil if nothing. The peer, and its certificate, are in ctx (package peer of gRPC).
// An error that is none of gRPC's is told as UNAUTHENTICATED, without its text.
type Admit func(ctx context.Context, token []byte) error

// free may be called by everybody: probes have no token.
const free = "/grpc.health.v1.Health/"

// isFree tells whether everybody may call a method.
func isFree(method string) bool { return strings.HasPrefix(method, free) }

func (d *Door) admit(ctx context.Context, method string) error {
	if d.opts.Admit == nil || isFree(method) {
		return nil
	}
	err := d.opts.Admit(ctx, bearer(ctx))
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.New(codes.Unauthenticated, "not admitted: wrong or no token")
	}
	f := &pb.Failure{Code: pb.Code_CODE_REFUSED, Execution: pb.Execution(session.Indeterminate), Text: s.Message()}
	if with, err := s.WithDetails(f); err == nil {
		s = with
	}
	return s.Err() //nolint:wrapcheck // it is for the client
}

// bearer returns the RPC's token.
func bearer(ctx context.Context) []byte {
	for _, v := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if kind, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(kind, "Bearer") {
			return []byte(strings.TrimSpace(token))
		}
	}
	return nil
}

// admitUnary is for other services than ours.
func (d *Door) admitUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := d.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (d *Door) admitStream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := d.admit(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, s)
}
