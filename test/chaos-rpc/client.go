//go:build linux

package main

import (
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

// groupsOf is what the name of the file of groups has behind that of the outcomes.
const groupsOf = "-groups"

// demand is a client process: it makes calls until its standard input ends, and prints
// how many it has made.
func demand(name, seed, workers, truthPath string, servers []string) error {
	truth, err := openTruth(truthPath)
	if err != nil {
		return err
	}
	groups, err := openTruth(truthPath + groupsOf)
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
	d := &demander{name: name, truth: truth, groups: groups}
	c, err := client.New(client.Options{
		Grace: 20 * time.Millisecond, OneWayEnd: d.endedOneWay,
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
	d.client = c
	var all sync.WaitGroup
	for w := range n {
		all.Go((&caller{demander: d, worker: w, rng: rand.New(rand.NewPCG(s, uint64(w)))}).work) //nolint:gosec // it is replayed from the seed
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
	d.flying.Wait()
	fmt.Println(d.made.Load())
	return c.Close()
}

type demander struct {
	client *client.Client
	name   string // number.life
	truth  *os.File
	groups *os.File
	made   atomic.Int64
	stop   atomic.Bool
	flying sync.WaitGroup // one-way calls
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
