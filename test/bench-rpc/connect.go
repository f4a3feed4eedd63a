package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

// bytesBody is connect's message.
type bytesBody struct{ b []byte }

// connectCodec carries bytesBody as it is.
type connectCodec struct{}

func (connectCodec) Name() string { return "bytes" }

func (c connectCodec) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

// MarshalAppend copies: connect puts what it gets into its pool of buffers.
func (connectCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	return append(dst, v.(*bytesBody).b...), nil
}

func (connectCodec) Unmarshal(b []byte, v any) error {
	p := v.(*bytesBody)
	p.b = append(p.b[:0], b...)
	return nil
}

func serveConnect(l net.Listener) error {
	h := connect.NewUnaryHandler("/bench.Echo/Bytes", func(_ context.Context, r *connect.Request[bytesBody]) (*connect.Response[bytesBody], error) {
		return connect.NewResponse(r.Msg), nil
	}, connect.WithCodec(connectCodec{}), connect.WithCompression("gzip", nil, nil))
	s := http.Server{Handler: h, Protocols: h2c(), ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

// h2c is HTTP/2 without TLS.
func h2c() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

type connectClient struct {
	http *http.Client
	c    *connect.Client[bytesBody, bytesBody]
}

func dialConnect(network, addr string, _ int) (client, error) {
	h := &http.Client{Transport: &http.Transport{Protocols: h2c(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	return connectClient{h, connect.NewClient[bytesBody, bytesBody](h, "http://bench/bench.Echo/Bytes", connect.WithCodec(connectCodec{}), connect.WithAcceptCompression("gzip", nil, nil))}, nil
}

func (c connectClient) call(_ int, in []byte) (int, error) {
	r, err := c.c.CallUnary(context.Background(), connect.NewRequest(&bytesBody{in}))
	if err != nil {
		return 0, err
	}
	return len(r.Msg.b), nil
}

func (c connectClient) close() error {
	c.http.CloseIdleConnections()
	return nil
}
