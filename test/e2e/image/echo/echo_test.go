package echo_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
	"rpcpool.dev/test/e2e/image/echo"
)

// tracker is a registry without a server, in this process.
func tracker(t *testing.T) string {
	t.Helper()
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: 1, First: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, host.Serve, host.Close)
}

// serve runs a server until the test ends.
func serve(t *testing.T, run func(net.Listener) error, stop func() error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(l) }()
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, rpc.ErrClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// join makes a server of service one that the tracker knows.
func join(t *testing.T, tracker, service string, echo func(context.Context, []byte) ([]byte, error)) {
	t.Helper()
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rpc.Handle(s, "echo", echo)
	addr := serve(t, s.Serve, s.Close)
	c, err := naming.Dial(rpc.ClientOptions{}, tracker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	node, err := naming.Join(t.Context(), c, naming.NodeOptions{
		ID: "node-1", Endpoints: registry.Endpoints{TCP: addr}, Services: []registry.Service{{Name: service}},
		OnFence: func() { t.Error("the lease was lost") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
}

func TestWhatComesBackIsCompared(t *testing.T) {
	for _, c := range []struct {
		name string
		echo func(context.Context, []byte) ([]byte, error)
		want string // of the error; empty: none
	}{
		{"the same bytes", func(_ context.Context, b []byte) ([]byte, error) { return b, nil }, ""},
		{"one byte is another", func(_ context.Context, b []byte) ([]byte, error) {
			b = append([]byte(nil), b...)
			b[len(b)-1]++
			return b, nil
		}, "call 0: sent 3000000 bytes, 3000000 others came back"},
		{"the call fails", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") }, "call 0: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracker := tracker(t)
			join(t, tracker, "text", c.echo)
			var out strings.Builder
			err := echo.Run(t.Context(), echo.Plan{Tracker: tracker, Service: "text", Bytes: 3_000_000, Calls: 2}, &out)
			if c.want == "" {
				if want := `{"call":0,"bytes":3000000}` + "\n" + `{"call":1,"bytes":3000000}` + "\n"; err != nil || out.String() != want {
					t.Errorf("%q, %v", out.String(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
				t.Errorf("%q, %v; want %q", out.String(), err, c.want)
			}
		})
	}
}

func TestAServiceWithoutAServerIsSaid(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := echo.Run(ctx, echo.Plan{Tracker: tracker(t), Service: "text", Calls: 1}, nil)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "service text: ") {
		t.Error(err)
	}
}
