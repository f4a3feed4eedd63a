// Command bank moves money over a network that loses connections all the time. Every
// call is made at most once, so no dollar is lost or made; and what was put last is what is
// there, so no late request overwrites it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc"
)

// Bank has accounts, and keeps what it is told to keep.
type Bank struct {
	mu      sync.Mutex
	balance map[string]int
	kept    map[string]string
	asked   int
}

// calls is how many have run.
func (b *Bank) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// Deduction is an argument.
type Deduction struct {
	Account string
	Dollars int
}

// Deduct takes money from an account. Twice is once too often.
func (b *Bank) Deduct(d Deduction, balance *int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.balance[d.Account] < d.Dollars {
		return rpc.Fail("insufficient", nil, "%s has %d", d.Account, b.balance[d.Account])
	}
	b.balance[d.Account] -= d.Dollars
	*balance = b.balance[d.Account]
	return nil
}

// Entry is a key and its value.
type Entry struct{ Key, Value string }

// Put keeps a value.
func (b *Bank) Put(e Entry, _ *bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	b.kept[e.Key] = e.Value
	return nil
}

// Get returns what was kept last.
func (b *Bank) Get(key string, value *string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	*value = b.kept[key]
	return nil
}

func main() {
	calls := flag.Int("calls", 2000, "how many times $10 are deducted")
	flag.Parse()
	if err := run(context.Background(), *calls, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bank:", err)
		os.Exit(1)
	}
}

// cut breaks all connections every few milliseconds, if a call has run since it last did.
func cut(proxy *faultproxy.Proxy, bank *Bank, stop <-chan struct{}) {
	for last := 0; ; {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if n := bank.calls(); n != last {
			last = n
			proxy.Cut()
		}
	}
}

func run(ctx context.Context, calls int, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	bank := &Bank{balance: map[string]int{"alice": 10 * calls}, kept: map[string]string{}}
	if err := s.Register(bank, ""); err != nil {
		return err
	}
	l, err := s.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(l) }()
	proxy, err := faultproxy.New(func() string { return l.Addr().String() })
	if err != nil {
		return err
	}
	defer proxy.Close()
	stop := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() { cut(proxy, bank, stop) })
	defer cutter.Wait()
	defer close(stop)

	c, err := rpc.Dial(rpc.ClientOptions{}, proxy.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	answered, err := deduct(ctx, c, calls)
	if err != nil {
		return err
	}
	bank.mu.Lock()
	left := bank.balance["alice"]
	bank.mu.Unlock()
	fmt.Fprintf(out, "%d deductions of $10: $%d of $%d are left\n", answered, left, 10*calls)
	if want := 10 * (calls - answered); left != want {
		return fmt.Errorf("balance is %d, want %d", left, want)
	}
	for i := range calls / 10 {
		// In one lane, what was given up does not come after what was said later.
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, first := rpc.Call[bool](short, c, "Bank.Put", Entry{"k", fmt.Sprintf("%d, given up", i)}, rpc.Lane(1))
		cancel()
		if _, err := rpc.Call[bool](ctx, c, "Bank.Put", Entry{"k", fmt.Sprint(i)}, rpc.Lane(1), rpc.WaitForReady); err != nil {
			return err
		}
		got, err := rpc.Call[string](ctx, c, "Bank.Get", "k", rpc.Lane(1), rpc.WaitForReady)
		if err != nil || strings.Contains(got, "given up") {
			return fmt.Errorf("after put %d (the one before: %w) it is %q, %w", i, first, got, err)
		}
	}
	fmt.Fprintln(out, "no late put has overwritten a later one")
	return nil
}

// deduct takes $10 so many times, from many goroutines.
func deduct(ctx context.Context, c *rpc.Client, times int) (answered int, err error) {
	g := rpc.NewGroup(ctx, rpc.GroupOptions{All: true, Limit: 32})
	futures := make([]*rpc.Future[int], times)
	for i := range futures {
		futures[i] = rpc.SpawnIn[int](g, c, "Bank.Deduct", Deduction{"alice", 10}, rpc.WaitForReady)
	}
	if err := g.Sync(); err != nil && !errors.Is(err, rpc.NotExecuted) {
		return 0, err // what did not run has taken nothing; anything else would be a lie about money
	}
	for _, f := range futures {
		if _, err := f.Get(ctx); err == nil {
			answered++
		}
	}
	return answered, nil
}
