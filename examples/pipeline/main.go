// Command pipeline uploads a program, loads it, runs it and fetches what has come of it: four
// calls of which each needs the result of the one before it, in one round trip.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"rpcpool.dev/rpc"
)

// Handle names something that the device keeps.
type Handle int

// Job is what is run.
type Job struct {
	Module rpc.Promise[Handle]
	Rounds int
}

// The methods, as both sides know them.
var (
	upload = rpc.Method[[]byte, Handle]("Device.Upload")
	load   = rpc.Method[Handle, Handle]("Device.Load")
	start  = rpc.Method[Job, Handle]("Device.Run")
	fetch  = rpc.Method[Handle, string]("Device.Fetch")
)

// device keeps what it is given under handles.
type device struct {
	mu   sync.Mutex
	kept []string
}

func (d *device) keep(what string) Handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, what)
	return Handle(len(d.kept))
}

func (d *device) get(h Handle) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h < 1 || int(h) > len(d.kept) {
		return "", rpc.Fail("handle", nil, "there is no %d", h)
	}
	return d.kept[h-1], nil
}

func (d *device) serve(s *rpc.Server) {
	upload.Handle(s, func(_ context.Context, code []byte) (Handle, error) { return d.keep(string(code)), nil })
	load.Handle(s, func(_ context.Context, h Handle) (Handle, error) {
		code, err := d.get(h)
		if err == nil && !strings.HasPrefix(code, "say ") {
			err = rpc.Fail("format", nil, "%q is no program", code)
		}
		if err != nil {
			return 0, err
		}
		return d.keep(strings.TrimPrefix(code, "say ")), nil
	})
	start.Handle(s, func(ctx context.Context, j Job) (Handle, error) {
		module, err := j.Module.Get(ctx)
		if err != nil {
			return 0, err
		}
		word, err := d.get(module)
		if err != nil {
			return 0, err
		}
		return d.keep(strings.TrimSpace(strings.Repeat(word+" ", j.Rounds))), nil
	})
	fetch.Handle(s, func(_ context.Context, h Handle) (string, error) { return d.get(h) })
}

// play runs a program on a device, and returns what it has said.
func play(ctx context.Context, c rpc.Caller, program string) (string, error) {
	code := upload.Spawn(ctx, c, []byte(program))
	module := load.Then(ctx, c, code.Result())
	output := start.Spawn(ctx, c, Job{Module: module.Result(), Rounds: 3})
	text := fetch.Then(ctx, c, output.Result())
	return text.Get(ctx)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pipeline:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	new(device).serve(s)
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address := "unix:" + filepath.Join(dir, "socket")
	l, err := s.Listen(ctx, address)
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(l) }()
	c, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		return err
	}
	defer c.Close()

	text, err := play(ctx, c, "say hello")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)

	_, err = play(ctx, c, "no program")
	if errors.Is(err, rpc.Unmet) && errors.Is(err, rpc.Reason("format")) { // why Load has failed
		fmt.Fprintln(out, "not run:", err)
	}

	b := rpc.NewBatch(c)
	first := upload.Spawn(ctx, b, []byte("say one"))
	second := load.Then(ctx, b, first.Result())
	b.Send()
	h, err := second.Get(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "loaded as", h)
	return nil
}
