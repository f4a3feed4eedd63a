package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
	rpcserver "rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
)

// flushTimeout is how long the last words to the accumulators may take.
const flushTimeout = time.Second

// serveCalls is "rpcpool worker --calls". What its methods do is counted, if the server
// gathers that.
func serveCalls() (err error) {
	if !worker.Inherited() {
		return usageErrorf("no calls: a worker is started by a server, as by 'rpcpool serve --protocol rpc -- rpcpool worker --calls'")
	}
	methods, err := builtin.Methods()
	if err != nil {
		return err
	}
	acc, err := remote.DialEnvironment(accumulator.Options{})
	if err != nil {
		return err
	}
	if acc != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
			defer cancel()
			err = errors.Join(err, acc.Close(ctx))
		}()
		for i := range methods {
			methods[i].Run = counted(acc.Client, methods[i].Name, methods[i].Run)
		}
	}
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	return worker.Serve(context.Background(), methods...)
}

// counted is a method that counts its runs, and how long they take.
func counted(acc *accumulator.Client, method string, run rpcserver.Run) rpcserver.Run {
	label := accumulator.Label{Name: "method", Value: method}
	calls, took := acc.Sum("builtin_calls", label), acc.Timer("builtin_run", label)
	return func(j *rpcserver.Job) (session.Code, []byte) {
		start := time.Now()
		defer func() {
			calls.Add(1)
			took.Observe(time.Since(start))
		}()
		return run(j)
	}
}
