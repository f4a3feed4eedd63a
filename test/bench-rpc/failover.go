package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
)

// unsentCalls is how many calls wait for a server that dies.
const unsentCalls = 1000

// failover measures how long calls take to be done by others that were queued for a server which
// takes a connection, says nothing, and dies; beside as many calls of which none has such luck.
func failover(network string, rounds int) error {
	dir, err := os.MkdirTemp("", "bench-rpc")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var others []conn.Endpoint
	for _, id := range []string{"a", "b"} {
		addr := "127.0.0.1:0"
		if network == "unix" {
			addr = filepath.Join(dir, id)
		}
		s, err := startServer(peer{name: "calls"}, network, addr)
		if err != nil {
			return err
		}
		defer s.stop()
		others = append(others, endpoint(id, network, s.addr))
	}
	var first, last, undisturbed []time.Duration
	for range rounds {
		f, l, u, err := death(network, dir, others)
		if err != nil {
			return err
		}
		first, last, undisturbed = append(first, f), append(last, l), append(undisturbed, u)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s/%d unsent calls, their server dies\tfirst done ms\tlast done ms\tas many, none dies ms\t\n", network, unsentCalls)
	fmt.Fprintf(t, "calls\t%.2f\t%.2f\t%.2f\t\n", ms(first), ms(last), ms(undisturbed))
	return t.Flush()
}

func ms(all []time.Duration) float64 {
	slices.Sort(all)
	return us(all[len(all)/2]) / 1000
}

func endpoint(id, network, addr string) conn.Endpoint {
	e := conn.Endpoint{ID: id}
	if network == "unix" {
		e.Unix = addr
	} else {
		e.TCP = addr
	}
	return e
}

// death is one round.
func death(network, dir string, others []conn.Endpoint) (first, last, undisturbed time.Duration, err error) {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(dir, "dead")
	}
	l, err := net.Listen(network, addr) //nolint:noctx // at once
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = l.Close() }()
	dead := endpoint("dead", network, l.Addr().String())
	c, err := rpc.NewClient(rpc.ClientOptions{Connect: time.Minute})
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = c.Close() }()
	if err := c.Update([]conn.Endpoint{dead}); err != nil {
		return 0, 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ends := spawn(ctx, c)
	nc, err := l.Accept()
	if err != nil {
		return 0, 0, 0, err
	}
	if err := errors.Join(l.Close(), c.Update(append([]conn.Endpoint{dead}, others...))); err != nil {
		return 0, 0, 0, err
	}
	for _, e := range others { // are connected already
		if _, err := rpc.Call[[]byte](ctx, c, "Echo", nil, rpc.At(e.ID)); err != nil {
			return 0, 0, 0, err
		}
	}
	began := time.Now()
	_ = nc.Close()
	if first, last, err = ends(began); err != nil {
		return 0, 0, 0, err
	}
	began = time.Now()
	_, undisturbed, err = spawn(ctx, c)(began)
	return first, last, undisturbed, err
}

// spawn starts the calls. What it returns waits for them, and tells when the first and the last of them
// were done.
func spawn(ctx context.Context, c *rpc.Client) func(began time.Time) (first, last time.Duration, err error) {
	ends := make(chan error, unsentCalls)
	in := make([]byte, smallSize)
	for range unsentCalls {
		f := rpc.Spawn[[]byte](ctx, c, "Echo", in)
		go func() {
			_, err := f.Get(ctx)
			ends <- err
		}()
	}
	return func(began time.Time) (first, last time.Duration, err error) {
		for i := range unsentCalls {
			err = errors.Join(err, <-ends)
			if last = time.Since(began); i == 0 {
				first = last
			}
		}
		return first, last, err
	}
}
