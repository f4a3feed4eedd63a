package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"rpcpool.dev/rpc/frame"
)

// Client and server that do not agree on TLS tell each other so, in the clear:
//
//	client    server    sees                        says
//	plain     TLS       the magic, and no record    HELLO_ACK: errWantsTLS
//	TLS       plain     a ClientHello, no magic     HELLO_ACK: errSpeaksTLS, of which the
//	                                                client sees that it is no record: errNoTLS
//
// Whoever begins with anything else is closed without an answer by a server with TLS.

// errNoTLS: the server has answered a ClientHello with something else than TLS.
var errNoTLS = errors.New("the server does not speak TLS")

// What clients are told.
var (
	errWantsTLS  = &frame.Error{Reason: frame.ReasonFeature, Text: "this server wants TLS"}
	errSpeaksTLS = &frame.Error{Reason: frame.ReasonProtocol, Text: "this server does not speak TLS"}
)

// refusal is the answer to a client that is refused.
func refusal(why *frame.Error) frame.HelloAck {
	return frame.HelloAck{Version: frame.MaxVersion, Reason: why.Reason, Text: []byte(why.Text)}
}

// checkMagic fails unless b is the magic.
func checkMagic(b []byte) error {
	if p, _ := frame.Sniff(b); p == frame.ProtocolTLS {
		return errSpeaksTLS
	}
	return frame.CheckMagic(b) //nolint:wrapcheck // it says all
}

// secure is the server's side of the handshake of TLS, where there is some.
func secure(ctx context.Context, nc net.Conn) error {
	if s, is := nc.(interface {
		HandshakeContext(context.Context) error
	}); is {
		if err := s.HandshakeContext(ctx); err != nil {
			return answerPlain(&RefusedError{RefusedTLS, fmt.Errorf("TLS: %w", err)})
		}
	}
	return nil
}

// answerPlain answers a client that has begun with the magic where TLS was to begin. It
// returns why a handshake has failed, of err, which is what TLS says of that.
func answerPlain(err error) error {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil || !strings.HasPrefix(frame.Magic, string(record.RecordHeader[:])) {
		return err
	}
	ack := refusal(errWantsTLS)
	if err := writeHalf(record.Conn, frame.TypeHelloAck, ack.Append(nil)); err != nil {
		return err
	}
	seeOut(record.Conn)
	return errWantsTLS
}

// seeOut reads what a client that is refused may have sent already: closing a socket before
// that is done can take the answer away from it. Whoever stays is closed at the deadline of
// the handshake, like one that says nothing.
func seeOut(nc net.Conn) {
	if half, can := nc.(interface{ CloseWrite() error }); can {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, nc, frame.MaxHello)
}

// tlsError is why a client's handshake of TLS has failed.
func tlsError(err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil {
		return fmt.Errorf("TLS handshake: %w: %w", errNoTLS, err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}
