package conn

import (
	"crypto/tls"
	"errors"
	"testing"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/frame"
)

// TestInTheSameProcessNothingIsCopied is S1.10.
func TestInTheSameProcessNothingIsCopied(t *testing.T) {
	h := &keeping{closed: make(chan error, 1)}
	server := startServer(t, h, nil)
	s := newService(t, newPool(t, newPoolCaller(), nil), Endpoint{ID: "a", Local: server.Server})
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 64<<20)
	released := 0
	m := &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 1, Seq: 1}, Body: body, Owner: counted{&released}}
	if err := r.Peer.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(h.kept) != 1 || &h.kept[0].Body[0] != &body[0] || released != 0 {
		t.Error("the body was copied, or let go of too early")
	}
	h.kept[0].Release()
	if state, route := r.From.State(); released != 1 || state != Connected || route.Transport != TransportDirect {
		t.Errorf("released %d times, %v by %v", released, state, route)
	}
	if err := s.Update(nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Peer.Send(t.Context(), &Message{Header: m.Header}); err != nil {
		t.Errorf("what is outstanding does not go on: %v", err)
	}
	h.kept[1].Release()
	r.Release()
	if err := <-h.closed; !errors.Is(err, ErrPeerClosed) {
		t.Errorf("closed with %v", err)
	}
	if err := r.Peer.TrySend(m); !errors.Is(err, ErrClosed) {
		t.Errorf("error is %v", err)
	}
}

func TestRoutes(t *testing.T) {
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	for _, c := range []struct {
		name string
		e    Endpoint
		want []Transport
	}{
		{"same process", Endpoint{Local: &Server{}, Unix: "/s", Node: "here", TCP: "h:1"}, []Transport{TransportDirect}},
		{"same node", Endpoint{Unix: "/s", Node: "here", TCP: "h:1"}, []Transport{TransportUnix, TransportTCP}},
		{"same node, TLS is for TCP", Endpoint{Unix: "/s", Node: "here", TCP: "h:1", TLS: secure}, []Transport{TransportUnix, TransportTLS}},
		{"another node", Endpoint{Unix: "/s", Node: "there", TCP: "h:1", TLS: secure}, []Transport{TransportTLS}},
		{"a node that is not known", Endpoint{Unix: "/s", TCP: "h:1"}, []Transport{TransportTCP}},
		{"another node without TCP", Endpoint{Unix: "/s", Node: "there"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Routes("here", &c.e)
			if len(got) != len(c.want) {
				t.Fatalf("got %+v, want %v", got, c.want)
			}
			for i, r := range got {
				if r.Transport != c.want[i] || r.Reason == "" || r.Transport.String() == "" {
					t.Errorf("got %+v, want %v", r, c.want[i])
				}
			}
		})
	}
}

// TestTheSocketIsTriedBeforeTCP falls back when the path is not there, and speaks
// TLS.
func TestTheSocketIsTriedBeforeTCP(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	serverTLS, clientTLS := certs.NewAuthority(t).TLS("server")
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	c := newPoolCaller()
	p := newPool(t, c, nil)
	e := Endpoint{ID: "a", Node: "here", Unix: server.path + "-not-there", TCP: l.Addr().String(), TLS: clientTLS}
	s := newService(t, p, e)
	for _, size := range []int{5, 1 << 20} {
		if _, err := echoOnce(t.Context(), s, c, string(make([]byte, size))); err != nil {
			t.Fatal(err)
		}
	}
	if _, route := s.FrontEnds()[0].State(); route.Transport != TransportTLS {
		t.Errorf("by %+v", route)
	}
	_ = p.Close()
	_ = server.Close()
	<-served
}
