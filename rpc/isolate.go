package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// Isolate says how handlers run in worker processes, which may crash, hang and be killed
// without harm to this one. A call whose worker dies ends with [Crashed], or is run
// again if it is idempotent. The zero value of each field means its default.
//
// The worker is a program that registers the same methods and calls [Server.Work]. That can be
// this program itself:
//
//	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{}})
//	rpc.Handle(s, "Snprintf", snprintf)
//	if rpc.IsWorker() {
//		return s.Work(ctx)
//	}
//	return s.Serve(l)
//
// Streams run in workers too; one whose worker dies ends with [Crashed], and is never run again.
type Isolate struct {
	Command     []string      // of the worker. Default: this program, with its arguments
	Env         []string      // NAME=VALUE, more than what this process has
	Dir         string        // default: this process's
	Output      io.Writer     // gets what workers write. Default: this process's stderr
	Workers     int           // that serve. Default 1
	Spares      int           // more, that are ready to take the place of one. Default 1; negative: none
	Concurrency int           // calls that run in a worker at once. Default 1
	Grace       time.Duration // for a call to end after its deadline, before its worker is killed. Default 2 s
}

// IsWorker tells whether this process was started as a worker.
func IsWorker() bool { return worker.Inherited() }

// errWorker is why a server does not listen in one of its own workers.
var errWorker = errors.New("this process is a worker of the server: it is to call Work, and listen nowhere")

// Work runs what the server that has started this process calls, until that ends.
func (s *Server) Work(ctx context.Context) error {
	s.mu.Lock()
	list := s.list
	s.mu.Unlock()
	if err := s.Err(); err != nil {
		return err
	}
	return worker.Serve(ctx, list...) //nolint:wrapcheck // it says all
}

// apart is a pool of workers, and what starts them.
type apart struct {
	starter *direct.Starter
	pool    *workers.Pool
	once    sync.Once
}

func newApart(o *Isolate, b *blobs, log *slog.Logger) (*apart, error) {
	command := o.Command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("program of workers: %w", err)
		}
		command = append([]string{self}, os.Args[1:]...)
	}
	output := o.Output
	if output == nil {
		output = os.Stderr
	}
	starter, err := direct.New(direct.Command{Path: command[0], Args: command[1:], Env: o.Env, Dir: o.Dir, Output: output})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	options := workers.Options{
		Starter: starter, Workers: o.Workers, Spares: o.Spares, Concurrency: o.Concurrency, Grace: o.Grace, Log: log,
	}
	if b != nil {
		options.Blobs = b.host
	}
	pool, err := workers.New(options)
	if err != nil {
		return nil, errors.Join(err, starter.Close())
	}
	return &apart{starter: starter, pool: pool}, nil
}

func (a *apart) start(c *server.Core) { a.once.Do(func() { a.pool.Start(c) }) }

func (a *apart) close() error { return errors.Join(a.pool.Close(), a.starter.Close()) }

// Workers returns what the workers are at; ok is false if there are none.
func (s *Server) Workers() (status workers.Status, ok bool) {
	if s.apart == nil {
		return workers.Status{}, false
	}
	return s.apart.pool.Status(), true
}
