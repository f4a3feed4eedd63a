package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
)

// game is what is known of all increments.
type game struct {
	c    *rpc.Client
	next atomic.Int64

	mu      sync.Mutex
	sum     int64 // of those that have taken place
	open    []doubt
	acked   int
	notRun  int
	resumed int
	settled int
}

// doubt is an increment whose call had no result.
type doubt struct {
	id rpc.XID
	i  Increment
}

// play has clients that increment, while the server and its workers are killed.
func play(ctx context.Context, increments int, out io.Writer) error {
	dir, err := os.MkdirTemp("", "exactlyonce")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := rpc.Dial(rpc.ClientOptions{
		Failover: 50 * time.Millisecond, Backoff: conn.Backoff{First: 5 * time.Millisecond, Most: 50 * time.Millisecond},
	}, "unix:"+filepath.Join(dir, "socket"))
	if err != nil {
		return err
	}
	defer c.Close()
	g := &game{c: c}
	dying, stop := context.WithCancel(ctx)
	defer stop()
	kills := make(chan int, 1)
	failed := make(chan error, 1)
	go func() {
		n, err := kill(dying, dir)
		kills <- n
		failed <- err
	}()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := int(g.next.Add(1)); n <= increments; n = int(g.next.Add(1)) {
				g.one(ctx, Increment{n, 1 + int64(n%7)})
			}
		})
	}
	all.Wait()
	if err := g.settle(ctx); err != nil {
		return err
	}
	stop()
	killed := <-kills
	if err := <-failed; err != nil {
		return err
	}
	st, err := openStore(filepath.Join(dir, "sum"))
	if err != nil {
		return err
	}
	defer st.f.Close()
	if err := st.locked(func() error { return nil }); err != nil {
		return err
	}
	fmt.Fprintf(out, "server killed %d times; %d increments had a result, %d were not done, %d were gone on with later, %d were settled\n",
		killed, g.acked, g.notRun, g.resumed, g.settled)
	if st.sum != g.sum {
		return fmt.Errorf("sum is %d, want %d", st.sum, g.sum)
	}
	return nil
}

// one makes one increment: until it is done, or until its client gives up; or, as any other
// call, at most once.
func (g *game) one(ctx context.Context, i Increment) {
	id := rpc.NewXID()
	var err error
	switch i.Number % 4 {
	case 0: // gives up soon
		short, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(30))*time.Millisecond) //nolint:gosec // spreads load, hides nothing
		err = increment(short, g.c, id, i)
		cancel()
	case 1: // at most once: the server makes the id
		_, err = rpc.Call[int64](ctx, g.c, "Add", i, rpc.WaitForReady)
		var e *rpc.Error
		if errors.As(err, &e) {
			id = e.XID
		}
	default:
		err = increment(ctx, g.c, id, i)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.sum += i.By
		g.acked++
	case errors.Is(err, rpc.NotExecuted):
		g.notRun++
	default:
		g.open = append(g.open, doubt{id, i})
	}
}

// settle finds out what has become of the increments that had no result: of some by going on
// with them.
func (g *game) settle(ctx context.Context) error {
	for n, d := range g.open {
		done, err := true, error(nil)
		if n%2 == 0 {
			g.resumed++
			err = increment(ctx, g.c, d.id, d.i)
		} else {
			g.settled++
			done, err = took(ctx, g.c, d.id)
		}
		if err != nil {
			return fmt.Errorf("increment %d: %w", d.i.Number, err)
		}
		if done {
			g.sum += d.i.By
		}
	}
	return nil
}

// kill starts the server, kills it at random moments, and starts it again, until ctx ends.
func kill(ctx context.Context, dir string) (kills int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	for ; ; kills++ {
		cmd := exec.Command(self, "-serve", dir, "-dies", "0.01") //nolint:noctx // it is killed below
		cmd.Env = append(os.Environ(), "EXACTLYONCE_SERVER=1")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return kills, err
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed, or has said why
			close(ended)
		}()
		select {
		case <-time.After(time.Duration(300+rand.IntN(700)) * time.Millisecond): //nolint:gosec // spreads load, hides nothing
			_ = cmd.Process.Kill()
			<-ended
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-ended
		case <-ended: // a worker that the last one was about to start has its journal still
		}
		if ctx.Err() != nil {
			return kills, nil
		}
	}
}
