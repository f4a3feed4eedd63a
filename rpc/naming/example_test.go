package naming_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
)

// greeter serves until ctx ends.
func greeter(ctx context.Context, tracker string) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	rpc.Handle(s, "Greet", func(_ context.Context, name string) (string, error) { return "Hello, " + name, nil })
	l, err := s.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, s.Close())
	}
	go s.Serve(l)
	r, err := naming.Dial(rpc.ClientOptions{}, tracker)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	n, err := naming.Join(ctx, r, naming.NodeOptions{
		ID:        "node-1",
		Endpoints: registry.Endpoints{TCP: l.Addr().String()},
		Services:  []registry.Service{{Name: "greeter"}},
		OnFence:   func() { os.Exit(1) }, // what runs for a lost lease must not go on
	})
	if err != nil {
		return errors.Join(err, r.Close(), s.Close())
	}
	<-ctx.Done()
	return errors.Join(s.Close(), n.Close(), r.Close())
}

// greet calls a greeter, wherever there is one.
func greet(ctx context.Context, tracker, name string) (string, error) {
	r, err := naming.Dial(rpc.ClientOptions{}, tracker)
	if err != nil {
		return "", err
	}
	defer r.Close()
	f := naming.Follow(r, naming.FollowOptions{})
	defer f.Close()
	c, err := rpc.NewClient(rpc.ClientOptions{Service: "greeter"})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := errors.Join(f.Feed("greeter", c), c.Ready(ctx, 1)); err != nil {
		return "", err
	}
	return rpc.Call[string](ctx, c, "Greet", name)
}

func Example() {
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: 1, First: true}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // where `rpcpool tracker` listens
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 2)
	go func() { served <- host.Serve(l) }()
	ctx, stop := context.WithCancel(context.Background())
	go func() { served <- greeter(ctx, l.Addr().String()) }()
	fmt.Println(greet(ctx, l.Addr().String(), "world"))
	stop()
	fmt.Println(<-served)
	_ = host.Close()
	<-served
	// Output:
	// Hello, world <nil>
	// <nil>
}

// The code of docs/naming.md is that of the example above.
func TestTheDocumentShowsWhatRuns(t *testing.T) {
	doc, err := os.ReadFile("../../docs/naming.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for rest := string(doc); ; blocks++ {
		_, after, found := strings.Cut(rest, "```go\n")
		if !found {
			break
		}
		block, after, _ := strings.Cut(after, "```")
		if !strings.Contains(string(source), block) {
			t.Errorf("this is not in example_test.go:\n%s", block)
		}
		rest = after
	}
	if blocks != 2 {
		t.Errorf("%d blocks of code", blocks)
	}
}
