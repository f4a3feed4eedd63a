// Command exactlyonce is a counter that counts right: its clients add to it exactly once,
// although server and workers are killed all the time, and clients give up.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"rpcpool.dev/rpc"
)

// Increment is what is added. Its number makes it another than all others.
type Increment struct {
	Number int
	By     int64
}

// counter is the handlers. In tests its process dies now and then.
type counter struct {
	*store
	dies float64 // how likely it is to die at each step
}

func (c *counter) may() {
	if rand.Float64() < c.dies { //nolint:gosec // kills, hides nothing
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}

// add adds to the sum, and returns it.
func (c *counter) add(ctx context.Context, i Increment) (sum int64, err error) {
	c.may()
	err = c.locked(func() error {
		sum = c.sum + i.By
		return rpc.Complete(ctx, sum, func(r rpc.Record) error {
			return c.commit(&transaction{by: i.By, record: r})
		})
	})
	c.may()
	return sum, err
}

// lookup finds the record of a call.
func (c *counter) lookup(_ context.Context, id rpc.XID) (reply []byte, found bool, err error) {
	err = c.locked(func() error {
		t, there := c.records[id]
		reply, found = t.record.Reply, there
		return nil
	})
	return reply, found, err
}

// settle tells whether a call has taken place. If it has not, it will not.
func (c *counter) settle(_ context.Context, id rpc.XID) (took bool, err error) {
	err = c.locked(func() error {
		t, there := c.records[id]
		if took = there && t.by != 0; there {
			return nil
		}
		return c.commit(&transaction{record: rpc.Voided(id)})
	})
	return took, err
}

// serve is the server, and its workers. Its table is in a journal, the sum in a file.
func serve(ctx context.Context, dir string, dies float64) error {
	st, err := openStore(filepath.Join(dir, "sum"))
	if err != nil {
		return err
	}
	c := &counter{st, dies}
	s, err := rpc.NewServer(rpc.ServerOptions{
		Journal: filepath.Join(dir, "journal"),
		Isolate: &rpc.Isolate{Output: io.Discard, Workers: 2, Concurrency: 2},
	})
	if err != nil {
		return err
	}
	defer s.Close()
	rpc.Handle(s, "Add", c.add, rpc.MethodOptions{Lookup: c.lookup})
	rpc.Handle(s, "Settle", c.settle)
	if rpc.IsWorker() {
		return s.Work(ctx)
	}
	path := filepath.Join(dir, "socket")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	l, err := s.Listen(ctx, "unix:"+path)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// increment adds once, however often it has to ask.
func increment(ctx context.Context, c *rpc.Client, id rpc.XID, i Increment) error {
	_, err := rpc.Call[int64](ctx, c, "Add", i, rpc.ExactlyOnce(id))
	return err
}

// took finds out what has become of an increment whose call had no result.
func took(ctx context.Context, c *rpc.Client, id rpc.XID) (bool, error) {
	return rpc.Call[bool](ctx, c, "Settle", id, rpc.Idempotent, rpc.AtLeastOnce(10*time.Second, 100))
}

func main() {
	dir := flag.String("serve", "", "be the server whose files are in this folder")
	dies := flag.Float64("dies", 0, "how likely a worker is to die at each step")
	increments := flag.Int("increments", 2000, "how many there are")
	flag.Parse()
	ctx := context.Background()
	var err error
	if *dir != "" {
		err = serve(ctx, *dir, *dies)
	} else {
		err = play(ctx, *increments, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "exactlyonce:", err)
		os.Exit(1)
	}
}
