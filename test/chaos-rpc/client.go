//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// lease is that of sessions: short, so that some end.
const lease = 8 * time.Second

// demand is a client process: it makes calls until its standard input ends, and prints
// how many it has made.
func demand(name, seed, workers, truthPath string, servers []string) error {
	truth, err := openTruth(truthPath)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(workers)
	if err != nil {
		return err
	}
	s, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{
		Grace: 20 * time.Millisecond,
		Session: session.ClientOptions{
			Lease: lease, FailoverAfter: 300 * time.Millisecond, RedialMost: 100 * time.Millisecond, Open: 24,
		},
		Pool: conn.PoolOptions{
			Conn: conn.Options{Keepalive: keepalive, Handshake: time.Second}, ConnectTimeout: time.Second,
			Backoff: conn.Backoff{First: 5 * time.Millisecond, Most: 100 * time.Millisecond}, IdleTimeout: 2 * time.Second,
		},
	})
	if err != nil {
		return err
	}
	var endpoints []conn.Endpoint
	for i, addr := range servers {
		endpoints = append(endpoints, conn.Endpoint{ID: strconv.Itoa(i), TCP: addr})
	}
	if err := c.Update(endpoints); err != nil {
		return err
	}
	d := &demander{client: c, name: name, truth: truth}
	var all sync.WaitGroup
	for w := range n {
		all.Go(func() { d.work(w, rand.New(rand.NewPCG(s, uint64(w)))) }) //nolint:gosec // it is replayed from the seed
	}
	go func() {
		for {
			time.Sleep(100 * time.Millisecond)
			fmt.Println(d.made.Load())
		}
	}()
	all.Go(func() { d.relist(endpoints, rand.New(rand.NewPCG(s, 1<<32))) }) //nolint:gosec // it is replayed from the seed
	_, _ = os.Stdin.Read(make([]byte, 1))
	d.stop.Store(true)
	all.Wait()
	fmt.Println(d.made.Load())
	return c.Close()
}

type demander struct {
	client *client.Client
	name   string // number.life
	truth  *os.File
	made   atomic.Int64
	stop   atomic.Bool
}

// relist takes a server off the list now and then, and puts it on it again.
func (d *demander) relist(endpoints []conn.Endpoint, rng *rand.Rand) {
	for !d.stop.Load() {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		i := rng.IntN(len(endpoints))
		_ = d.client.Update(slices.Delete(slices.Clone(endpoints), i, i+1)) // with good addresses it does not fail
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		_ = d.client.Update(endpoints)
	}
}

// work makes one call after the other. Those of every third worker are in a lane.
func (d *demander) work(worker int, rng *rand.Rand) {
	pad := bytes.Repeat([]byte("."), 300<<10)
	for i := 0; !d.stop.Load(); i++ {
		u := client.Call{Method: []string{"do", "do", "do!"}[rng.IntN(3)]}
		kind := ""
		if worker%3 == 0 {
			u.Lane, kind = uint64(worker+1), "l"
		} else if u.Idempotent = rng.IntN(3) == 0; u.Idempotent {
			kind = "i"
		}
		o := outcome{call: fmt.Sprintf("%s.w%d.%s%d", d.name, worker, kind, i), idempotent: u.Idempotent}
		var work time.Duration
		if u.Method == "do" && rng.IntN(4) == 0 {
			work = time.Duration(rng.ExpFloat64() * float64(8*time.Millisecond))
		}
		if u.Method == "do" && rng.IntN(200) == 0 {
			work = time.Duration(rng.IntN(600)) * time.Millisecond
		}
		u.Args = fmt.Appendf(nil, "%s %d %t %t ", o.call, work, rng.IntN(2) == 0, rng.IntN(50) == 0)
		switch rng.IntN(40) {
		case 0:
			u.Args = append(u.Args, pad[:rng.IntN(len(pad))]...)
		case 1, 2, 3:
			u.Args = append(u.Args, pad[:rng.IntN(12<<10)]...)
		}
		d.call(&u, &o, rng)
	}
}

// call makes a call, and notes what came of it. A deadline is far, near or none; some
// are cancelled. Without any, there is still an end.
func (d *demander) call(u *client.Call, o *outcome, rng *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.asked = now()
	switch rng.IntN(20) {
	case 0:
		stop := time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, cancel)
		defer stop.Stop()
	case 1:
		stop := time.AfterFunc(time.Duration(rng.IntN(8000))*time.Millisecond, cancel)
		defer stop.Stop()
	default:
		left := time.Duration(1+rng.IntN(2000)) * time.Millisecond
		if rng.IntN(5) == 0 {
			left = time.Duration(rng.IntN(5000)) * time.Microsecond
		}
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, left)
		defer end()
		o.until = now() + left // not before the context's
	}
	limit := time.AfterFunc(20*time.Second, cancel)
	defer limit.Stop()
	d.client.Do(ctx, u)
	o.told = now()
	o.code, o.execution, o.attempts = u.Outcome.Code, u.Outcome.Execution, u.Attempts
	o.whole = bytes.HasPrefix(u.Reply, []byte(o.call+" ")) && bytes.Equal(u.Reply[len(o.call)+1:], u.Args)
	note(d.truth, o.String())
	d.made.Add(1)
	if o.code == session.NoServer {
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // or they would be most of all calls
	}
}
