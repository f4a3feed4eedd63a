package builtin

import (
	"context"
	"errors"
	"time"

	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/worker"
)

// flushTimeout is how long the last words to the accumulators may take.
const flushTimeout = time.Second

// Serve is what a worker does: it serves [Methods] until the server above it ends the
// channel, and counts what they do, if the server gathers that.
func Serve(ctx context.Context) (err error) {
	methods, err := Methods()
	if err != nil {
		return err
	}
	acc, err := remote.DialEnvironment(accumulator.Options{})
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if acc != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			err = errors.Join(err, acc.Close(ctx))
		}()
		for i := range methods {
			methods[i].Run = counted(acc.Client, methods[i].Name, methods[i].Run)
		}
	}
	return worker.Serve(ctx, methods...) //nolint:wrapcheck // it says all
}

// counted is a method that counts its runs, and how long they take.
func counted(acc *accumulator.Client, method string, run server.Run) server.Run {
	label := accumulator.Label{Name: "method", Value: method}
	calls, took := acc.Sum("builtin_calls", label), acc.Timer("builtin_run", label)
	return func(j *server.Job) (session.Code, []byte) {
		start := time.Now()
		defer func() {
			calls.Add(1)
			took.Observe(time.Since(start))
		}()
		return run(j)
	}
}
