package grpcdoor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/port"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestWhoHasNoTokenMayOnlyAskForHealth(t *testing.T) {
	r := newRig(t, server.Options{}, Options{Admit: func(_ context.Context, token []byte) error {
		switch string(token) {
		case "good":
			return nil
		case "tired":
			return status.Error(codes.ResourceExhausted, "come back tomorrow")
		}
		return errNotAdmitted
	}})
	cc := r.conn()
	rpc := pb.NewCallsClient(cc)
	for _, row := range []struct {
		name, token string
		want        codes.Code
		text        string
	}{
		{"no token", "", codes.Unauthenticated, "not admitted: wrong or no token"},
		{"a wrong one", "Bearer bad", codes.Unauthenticated, "not admitted: wrong or no token"},
		{"another kind", "Basic good", codes.Unauthenticated, "not admitted: wrong or no token"},
		{"an error of the check's own", "bearer tired", codes.ResourceExhausted, "come back tomorrow"},
		{"the right one", "Bearer good", codes.OK, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := soon(t)
			if row.token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", row.token)
			}
			_, err := rpc.Invoke(ctx, &pb.InvokeRequest{Method: "count"})
			if got, f := failureOf(err); got != row.want || f.GetText() != row.text {
				t.Errorf("%v", err)
			}
		})
	}
	r.ran(1)
	if _, err := healthpb.NewHealthClient(cc).Check(soon(t), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	if got, _ := failureOf(list(t, cc)); got != codes.Unauthenticated {
		t.Errorf("reflection: %v", got)
	}
}

// list asks which services there are.
func list(t *testing.T, cc *grpc.ClientConn) error {
	t.Helper()
	s, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(soon(t))
	if err != nil {
		return err
	}
	_ = s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	in, err := s.Recv()
	if err == nil && len(in.GetListServicesResponse().GetService()) < 3 {
		t.Errorf("%v", in)
	}
	_ = s.CloseSend()
	return err
}

func TestReflectionAndHealth(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	cc := r.conn()
	if err := list(t, cc); err != nil {
		t.Error(err)
	}
	h := healthpb.NewHealthClient(cc)
	for _, serving := range []bool{true, false, true} {
		r.door.SetServing(serving)
		for _, service := range []string{"", "rpcpool.v1.Calls"} {
			out, err := h.Check(soon(t), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || (out.GetStatus() == healthpb.HealthCheckResponse_SERVING) != serving {
				t.Errorf("serving %v: %v, %v", serving, out, err)
			}
		}
	}
}

func TestAShutdownWaitsForItsRPCs(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("slow", ""))
	r.entered()
	over := make(chan error, 1)
	go func() { over <- r.door.Shutdown(soon(t)) }()
	r.leave <- struct{}{}
	if a := <-done; a.result != "slowly" || a.err != nil {
		t.Errorf("%+v", a)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestAShutdownDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	c := r.open(r.dial())
	done := later(soon(t), c.rpc, c.next("deaf", ""))
	r.entered()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.door.Shutdown(ctx); err == nil {
		t.Error("the RPC has not ended")
	}
	if a := <-done; a.err == nil {
		t.Errorf("%+v", a)
	}
}

func TestEveryCodeOfASessionHasOneOnTheWire(t *testing.T) {
	for c := session.OK; c < session.Codes; c++ {
		if _, ok := pb.Code_name[int32(codeOf(c))]; !ok {
			t.Errorf("%v has none", c)
		}
	}
	for n := range pb.Code_name {
		if _, ok := grpcCodes[pb.Code(n)]; !ok {
			t.Errorf("%v has no code of gRPC", pb.Code(n))
		}
	}
	for e, want := range map[session.Execution]pb.Execution{
		session.Indeterminate: pb.Execution_EXECUTION_INDETERMINATE,
		session.NotExecuted:   pb.Execution_EXECUTION_NOT_EXECUTED,
		session.Executed:      pb.Execution_EXECUTION_EXECUTED,
	} {
		if got := pb.Execution(e); got != want {
			t.Errorf("%v became %v", e, got)
		}
	}
}

// ended is a connection whose TLS somebody has ended.
type ended struct{ net.Conn }

func (ended) ConnectionState() tls.ConnectionState { return tls.ConnectionState{ServerName: "me"} }

func TestWhoTheClientIsIsKnownBehindAPort(t *testing.T) {
	creds := portCredentials{}.Clone()
	_, info, err := creds.ServerHandshake(ended{})
	if tlsInfo, ok := info.(credentials.TLSInfo); err != nil || !ok || tlsInfo.State.ServerName != "me" {
		t.Errorf("%v, %v", info, err)
	}
	_, info, err = creds.ServerHandshake(&net.TCPConn{})
	if err != nil || info.AuthType() != "insecure" {
		t.Errorf("%v, %v", info, err)
	}
	if _, _, err := creds.ClientHandshake(t.Context(), "", nil); err == nil {
		t.Error("a client can use it")
	}
}

// certificate makes one that is good for nothing but this test.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"server"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func TestAdmitSeesTheCertificateOfAClient(t *testing.T) {
	own := certificate(t)
	r := newRigAt(t, server.Options{}, Options{Admit: func(ctx context.Context, _ []byte) error {
		p, _ := peer.FromContext(ctx)
		info, ok := p.AuthInfo.(credentials.TLSInfo)
		if !ok || len(info.State.PeerCertificates) != 1 || info.State.PeerCertificates[0].DNSNames[0] != "server" {
			return errNotAdmitted
		}
		return nil
	}}, port.Options{TLS: &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert}})
	secure := func(certs ...tls.Certificate) pb.CallsClient {
		return r.dial(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: certs})))
	}
	if got, err := r.open(secure(own)).call("count", "x"); got != "ran with x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for name, rpc := range map[string]pb.CallsClient{"no certificate": secure(), "no TLS": r.dial()} {
		if got, _ := failureOf(second(rpc.Open(soon(t), &pb.OpenRequest{}))); got != codes.Unauthenticated {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWhoMayNotCallIsDenied by the certificate, with gRPC's word for it.
func TestWhoMayNotCallIsDenied(t *testing.T) {
	own := certificate(t)
	r := newRigAt(t, server.Options{Allow: func(who server.Identity) func(string) bool {
		known := len(who.Certificates) == 1 && who.Certificates[0].DNSNames[0] == "server"
		return func(method string) bool { return known && method == "count" }
	}}, Options{}, port.Options{TLS: &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert}})
	secure := func(certs ...tls.Certificate) pb.CallsClient {
		return r.dial(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: certs})))
	}
	friend := r.open(secure(own))
	if got, err := friend.call("count", "x"); got != "ran with x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for name, try := range map[string]func() (string, error){
		"another method": func() (string, error) { return friend.call("echo", "x") },
		"a stranger":     func() (string, error) { return r.open(secure()).call("count", "x") },
		"without TLS":    func() (string, error) { return r.open(r.dial()).call("count", "x") },
	} {
		_, err := try()
		if got, f := failureOf(err); got != codes.PermissionDenied || f.GetCode() != pb.Code_CODE_DENIED || f.GetExecution() != pb.Execution_EXECUTION_NOT_EXECUTED {
			t.Errorf("%s: %v, %v", name, got, f)
		}
	}
	r.ran(1)
}

func TestBadOptionsAreRefused(t *testing.T) {
	if _, err := New(nil, Options{MaxOpen: -1}); err == nil {
		t.Error("negative")
	}
}

func TestSoManyMayBeConnected(t *testing.T) {
	r := newRig(t, server.Options{}, Options{MaxConns: 2})
	first, second := r.conn(), r.conn()
	for _, cc := range []*grpc.ClientConn{first, second} {
		r.open(pb.NewCallsClient(cc))
	}
	third := r.dial()
	if _, err := third.Open(soon(t), &pb.OpenRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	if n := r.door.Conns(); n != 2 {
		t.Errorf("%d are counted", n)
	}
	_ = first.Close()
	r.until("there is room", func() bool { return r.door.Conns() < 2 })
	if _, err := third.Open(soon(t), &pb.OpenRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("when one has gone: %v", err)
	}
}
