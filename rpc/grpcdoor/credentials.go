package grpcdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// portCredentials are those of connections whose TLS, if any, has been ended before they
// came here (package port): who the client is, is known all the same.
type portCredentials struct{}

var _ credentials.TransportCredentials = portCredentials{}

// plain is what is known of a client without TLS.
type plain struct{ credentials.CommonAuthInfo }

// AuthType implements [credentials.AuthInfo].
func (plain) AuthType() string { return "insecure" }

// ServerHandshake implements [credentials.TransportCredentials].
func (portCredentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	from := c
	if k, ok := c.(*counted); ok {
		from = k.Conn
	}
	if t, ok := from.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return c, credentials.TLSInfo{
			State:          t.ConnectionState(),
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		}, nil
	}
	return c, plain{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
}

// ClientHandshake implements [credentials.TransportCredentials].
func (portCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info implements [credentials.TransportCredentials].
func (portCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

// Clone implements [credentials.TransportCredentials].
func (c portCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (portCredentials) OverrideServerName(string) error { return nil }
