package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/frame"
)

// serveTCP serves by a port, with TLS if there is some, and returns its address.
func serveTCP(t *testing.T, secure *tls.Config, change func(*ServerOptions)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	server := startServer(t, &echo{}, change)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return addr
}

// TestAClientAndAServerThatDoNotAgreeOnTLSAreTold, however much the client has said, and
// before the time of the handshake is over.
func TestAClientAndAServerThatDoNotAgreeOnTLSAreTold(t *testing.T) {
	serverTLS, clientTLS := certs.NewAuthority(t).TLS("server")
	patient := func(o *ServerOptions) { o.Conn.Handshake = time.Hour }
	for name, test := range map[string]struct {
		server, client *tls.Config
		token          int // bytes
		want           string
	}{
		"a plain client":                     {serverTLS, nil, 0, "handshake with server: server refuses the connection: this server wants TLS (feature)"},
		"a plain client that says much":      {serverTLS, nil, 60 << 10, "handshake with server: server refuses the connection: this server wants TLS (feature)"},
		"a plain server":                     {nil, clientTLS, 0, "TLS handshake: the server does not speak TLS: tls: first record does not look like a TLS handshake"},
		"both with TLS":                      {serverTLS, clientTLS, 0, ""},
		"neither, as it is for the careless": {nil, nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := Endpoint{ID: "a", TCP: serveTCP(t, test.server, patient), TLS: test.client}
			nc, _, err := DialEndpoint(t.Context(), PoolOptions{}, e)
			if err == nil {
				var c *Conn
				c, err = Connect(t.Context(), nc, frame.Hello{Token: make([]byte, test.token)}, newCaller(), Options{Handshake: time.Hour})
				if err == nil {
					_ = c.Close()
				}
			}
			if got := text(err); !strings.HasSuffix(got, test.want) || test.want == "" && err != nil {
				t.Errorf("%q, want %q", got, test.want)
			}
			if (test.server == nil && test.client != nil) != errors.Is(err, errNoTLS) {
				t.Errorf("it is errNoTLS, or is not: %v", err)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestAServerWithTLSAnswersNobodyElse: what is no native client learns nothing.
func TestAServerWithTLSAnswersNobodyElse(t *testing.T) {
	serverTLS, _ := certs.NewAuthority(t).TLS("server")
	addr := serveTCP(t, serverTLS, func(o *ServerOptions) { o.Conn.Handshake = time.Hour })
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "\xf7rpc HELLO", "\xf7rpc", "\x71\xf2\x0f\x00 key"} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, first)
		_ = nc.(*net.TCPConn).CloseWrite()
		if answer, _ := io.ReadAll(nc); len(answer) > 0 {
			t.Errorf("%q: %q", first, answer)
		}
		_ = nc.Close()
	}
}

// TestWhoStaysAfterARefusalIsClosed when the time of its handshake is over.
func TestWhoStaysAfterARefusalIsClosed(t *testing.T) {
	serverTLS, _ := certs.NewAuthority(t).TLS("server")
	brief := func(o *ServerOptions) { o.Conn.Handshake = 50 * time.Millisecond }
	for name, test := range map[string]struct {
		server *tls.Config
		first  string
	}{
		"plain":    {serverTLS, frame.Magic},
		"with TLS": {nil, "\x16\x03\x01\x00\x05hello"},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", serveTCP(t, test.server, brief))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, test.first)
			answer, _ := io.ReadAll(nc)
			if !strings.HasPrefix(string(answer), frame.Magic) || !strings.HasSuffix(string(answer), "TLS") {
				t.Errorf("the answer is %q", answer)
			}
			for err = nil; err == nil; { // until it is closed
				_, err = io.WriteString(nc, "x")
			}
		})
	}
}

// hearing counts what is read, and tells when it is closed.
type hearing struct {
	net.Conn

	heard  int
	closed chan int
}

func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.heard += n
	return n, err
}

func (h *hearing) Close() error {
	h.closed <- h.heard
	return h.Conn.Close()
}

// TestARefusedClientIsHeardOut: closing before could take the answer away from it.
func TestARefusedClientIsHeardOut(t *testing.T) {
	serverTLS, _ := certs.NewAuthority(t).TLS("server")
	const rest = 60 << 10
	for name, test := range map[string]struct {
		server *tls.Config
		first  string
	}{
		"plain":    {serverTLS, frame.Magic},
		"with TLS": {nil, "\x16\x03\x01\x00\x05hello"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := sockets(t, "unix")
			h := &hearing{Conn: b, closed: make(chan int, 2)}
			var nc net.Conn = h
			if test.server != nil {
				nc = tls.Server(h, test.server)
			}
			if _, err := io.WriteString(a, test.first+strings.Repeat("x", rest)); err != nil {
				t.Fatal(err)
			}
			_ = a.(*net.UnixConn).CloseWrite()
			if _, err := Accept(t.Context(), nc, admitAll, &echo{}, Options{Handshake: time.Hour}); err == nil {
				t.Error("it is let in")
			}
			if got := <-h.closed; got != len(test.first)+rest {
				t.Errorf("%d bytes were read before it was closed", got)
			}
		})
	}
}
