package conn

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/frame"
)

// TestWhoIsNotLetInIsCountedByTheReason: who goes by himself is not.
func TestWhoIsNotLetInIsCountedByTheReason(t *testing.T) {
	serverTLS, clientTLS := certs.NewAuthority(t).TLS("server")
	_, stranger := certs.NewAuthority(t).TLS("server")
	wanting := serverTLS.Clone()
	wanting.ClientAuth = tls.RequireAnyClientCert
	brief := func(o *ServerOptions) { o.Conn.Handshake = 50 * time.Millisecond }
	none := func(*ServerOptions) {}
	for name, test := range map[string]struct {
		server *tls.Config
		change func(*ServerOptions)
		client func(nc net.Conn) // which the test closes when the server has counted
		want   string            // empty: it is let in, or has gone
	}{
		"wrong token": {nil, func(o *ServerOptions) {
			o.Admit = func(*frame.Hello) frame.HelloAck { return frame.HelloAck{Reason: frame.ReasonUnauthorised} }
		}, says(frame.Hello{Token: []byte("wrong")}), "token"},
		"too many": {nil, func(o *ServerOptions) {
			o.Admit = func(*frame.Hello) frame.HelloAck { return frame.HelloAck{Reason: frame.ReasonOverload} }
		}, says(frame.Hello{}), "overload"},
		"a feature that there is not":       {nil, none, says(frame.Hello{Required: 1 << 63, Features: 1 << 63}), "protocol"},
		"something else":                    {nil, none, writes("GET / HTTP/1.1\r\n\r\n"), "protocol"},
		"TLS where there is none":           {nil, none, speaks(clientTLS), "tls-mismatch"},
		"no TLS where there is":             {serverTLS, none, says(frame.Hello{}), "tls-mismatch"},
		"no certificate":                    {wanting, none, speaks(clientTLS), "tls"},
		"it does not believe ours":          {serverTLS, none, speaks(stranger), "tls"},
		"no TLS, nor anything":              {serverTLS, none, writes("GET / HTTP/1.1\r\n\r\n"), "tls"},
		"it says nothing":                   {nil, brief, func(net.Conn) {}, "timeout"},
		"it says nothing, where TLS is":     {serverTLS, brief, func(net.Conn) {}, "timeout"},
		"it goes before it has said":        {nil, none, func(nc net.Conn) { _ = nc.Close() }, ""},
		"it goes before it has said in TLS": {serverTLS, none, func(nc net.Conn) { _ = nc.Close() }, ""},
		"nothing is wrong":                  {nil, none, says(frame.Hello{}), ""},
		"nothing is wrong with TLS":         {serverTLS, none, speaks(clientTLS), ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, &echo{}, test.change)
			a, b := sockets(t, "tcp")
			running := make(chan struct{})
			go func() {
				defer close(running)
				test.client(a)
			}()
			if test.server != nil {
				b = tls.Server(b, test.server)
			}
			if c, err := server.ServeConn(b); err == nil {
				defer func() { _ = c.Close() }()
			}
			<-running
			_ = a.Close()
			var want [Refusals]uint64
			for why := range Refusals {
				if why.String() == test.want {
					want[why] = 1
				}
			}
			if got := server.Counts().Refused; got != want {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}

// writes is a client that says something.
func writes(text string) func(net.Conn) {
	return func(nc net.Conn) { _, _ = io.WriteString(nc, text) }
}

// says is a client that shakes hands.
func says(hello frame.Hello) func(net.Conn) {
	hello.Limits = frame.Limits{MaxFrame: 64 << 10, MaxMessage: 1 << 20, Window: 1 << 20}
	return func(nc net.Conn) { _, _ = Shake(context.Background(), nc, hello, time.Minute) }
}

// speaks is one with TLS. That its certificate is not taken it hears when it reads.
func speaks(config *tls.Config) func(net.Conn) {
	return func(nc net.Conn) {
		config = config.Clone()
		config.ServerName = "server"
		says(frame.Hello{})(tls.Client(nc, config))
	}
}
