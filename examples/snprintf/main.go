// Command snprintf calls a function that crashes once in forty calls, as native code
// does, from a program that does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"

	"rpcpool.dev/rpc"
)

// Args are those of snprintf.
type Args struct {
	Size   int
	Format string
	Value  int
}

// snprintf has a bug.
func snprintf(_ context.Context, a Args) (string, error) {
	if rand.IntN(40) == 0 { //nolint:gosec // it is no secret
		_ = syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		select {}
	}
	s := fmt.Sprintf(a.Format, a.Value)
	if len(s) >= a.Size {
		return "", rpc.Fail("truncated", nil, "%d bytes do not fit in %d", len(s)+1, a.Size)
	}
	return s, nil
}

// post says what the worker of a call that has crashed died of.
func post(err error) string {
	var e *rpc.Error
	if !errors.As(err, &e) {
		return "it is no call's error"
	}
	report, ok := e.Crash()
	if !ok {
		return "there is no report"
	}
	return fmt.Sprintf("%s, signal %d, status %d, it wrote %d bytes", report.Cause, report.Signal, report.Status, len(report.Output))
}

func main() {
	calls := flag.Int("calls", 200, "how many calls are made")
	flag.Parse()
	if err := run(context.Background(), *calls, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "snprintf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, calls int, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{Output: io.Discard}})
	if err != nil {
		return err
	}
	defer s.Close()
	rpc.Handle(s, "Snprintf", snprintf)
	if rpc.IsWorker() { // all until here runs in each worker, too
		return s.Work(ctx)
	}
	l, err := s.Listen(ctx, "127.0.0.1:0") // and all from here on in the first process alone
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(l) }()

	c, err := rpc.Dial(rpc.ClientOptions{}, l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	crashed := 0
	for i := range calls {
		text, err := rpc.Call[string](ctx, c, "Snprintf", Args{64, "The answer is %d", i})
		switch {
		case errors.Is(err, rpc.Crashed): // it may have had an effect, so it was not run again
			if crashed++; crashed == 1 {
				fmt.Fprintln(out, "worker died:", post(err))
			}
		case err != nil:
			return err
		case i == calls-1:
			fmt.Fprintln(out, text)
		}
	}
	retried := 0
	for i := range calls { // Snprintf has no effects, so it may be run again
		text, err := rpc.Call[string](ctx, c, "Snprintf", Args{64, "The answer is %d", i}, rpc.Idempotent)
		switch {
		case errors.Is(err, rpc.Crashed), errors.Is(err, rpc.Poisoned):
			continue // three times in a row
		case err != nil:
			return err
		}
		_ = text
		retried++
	}
	fmt.Fprintf(out, "%d of %d calls crashed; of %d that may be run again, %d have a result\n", crashed, calls, calls, retried)
	return nil
}
