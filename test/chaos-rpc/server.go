//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/journal"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// keepalive finds silent peers sooner than by default.
var keepalive = conn.Keepalive{Silence: 400 * time.Millisecond, Answer: 200 * time.Millisecond} //nolint:gochecknoglobals // constant

// serve is a server process: it prints its address, and ends with its standard input.
func serve(name, journalPath, truthPath string) error {
	truth, err := openTruth(truthPath)
	if err != nil {
		return err
	}
	policy := journal.Process
	if name == "2" { // one of them waits for the disk
		policy = journal.Batch
	}
	log, err := journal.Open(journalPath, journal.Options{Size: 4 << 20, Policy: policy})
	if err != nil {
		return err
	}
	o := server.Options{
		Journal: log, Sync: policy != journal.Process, ID: log.ID(), Life: uint64(log.Life()), Limit: 64, Queue: 256, NoticeAt: 20 * time.Millisecond,
		Domain: session.DomainOptions{Lease: lease},
	}
	h := &handler{name: fmt.Sprintf("%s.%d", name, os.Getpid()), truth: truth}
	var core *server.Core
	if isolates(name) {
		core, err = isolate(&o, h.name, truthPath)
	} else {
		core, err = server.New(&server.Local{}, o)
	}
	if err != nil {
		return err
	}
	for _, m := range h.methods() {
		if err := core.Register(m); err != nil {
			return err
		}
	}
	ns, err := conn.NewServer(conn.ServerOptions{
		Handler: server.NewDoor(core), Conn: conn.Options{Keepalive: keepalive},
		Admit: func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams | frame.FeaturePipelining})
		},
	})
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go func() {
		<-stopped
		_ = core.Drain(context.Background()) // it is killed if that takes too long
		_ = ns.Shutdown(context.Background())
		os.Exit(0)
	}()
	if err := ns.Serve(l); !errors.Is(err, conn.ErrClosed) {
		return err
	}
	select {} // until Shutdown is over
}

// isolates tells whether a server runs its calls in worker processes.
func isolates(name string) bool { return name == "1" }

// What a worker's environment says.
const (
	workerName  = "CHAOS_RPC_WORKER_OF"
	workerTruth = "CHAOS_RPC_TRUTH"
)

// isolate makes a server whose workers are this program. A call that does not end when it is to
// costs its worker the life, and those that run beside it.
func isolate(o *server.Options, name, truthPath string) (*server.Core, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	starter, err := direct.New(direct.Command{Path: self, Env: []string{workerName + "=" + name, workerTruth + "=" + truthPath}, Output: os.Stderr})
	if err != nil {
		return nil, err
	}
	pool, err := workers.New(workers.Options{Starter: starter, Workers: 4, Spares: 2, Concurrency: 8, Grace: 50 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	o.Limit, o.Apart = -1, true
	core, err := server.New(pool, *o)
	if err != nil {
		return nil, err
	}
	pool.Start(core)
	return core, nil
}

// work is a worker process.
func work() error {
	truth, err := openTruth(os.Getenv(workerTruth))
	if err != nil {
		return err
	}
	h := &handler{name: os.Getenv(workerName), truth: truth}
	return worker.Serve(context.Background(), h.methods()...)
}

// handler is what runs.
type handler struct {
	name  string // of the server
	truth *os.File
}

func (h *handler) methods() []server.Method {
	return []server.Method{{Name: "do", Run: h.do}, {Name: "do!", Run: h.do, Inline: true}, {Name: "join", Run: h.join}}
}

// join is do with results of other calls behind what do is told: items of CBOR, the first a text.
func (h *handler) join(j *server.Job) (session.Code, []byte) {
	var head string
	rest, err := cbor.UnmarshalFirst(j.Args, &head)
	if err != nil {
		return session.Invalid, nil
	}
	var given names
	for len(rest) > 0 {
		var b []byte
		if rest, err = cbor.UnmarshalFirst(rest, &b); err != nil {
			return session.Invalid, nil
		}
		given = append(given, nameIn(b)+":"+sumOf(b))
	}
	return h.run(j, head, given)
}

// nameIn is the name of the call that a result is of, "?" if it has none.
func nameIn(b []byte) string {
	name, _, _ := bytes.Cut(b[:min(len(b), 100)], []byte(" "))
	if len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
		return "?"
	}
	return string(name)
}

// do notes that it runs, and works for as long as it is told. Its arguments are the
// call's name and that time, both in words, and padding.
func (h *handler) do(j *server.Job) (session.Code, []byte) {
	return h.run(j, string(j.Args[:min(len(j.Args), 200)]), nil)
}

// run does what head says, with results of others.
func (h *handler) run(j *server.Job, head string, given names) (session.Code, []byte) {
	at := now()
	left, bound := j.Left() // not before at: it must not look longer than it was
	if !bound {
		left = 100 * 365 * 24 * time.Hour
	}
	var call string
	var work time.Duration
	var deaf, fail bool
	if _, err := fmt.Sscan(head, &call, &work, &deaf, &fail); err != nil {
		return session.Invalid, nil
	}
	note(h.truth, fmt.Sprintf("start %s %s %v %d %d %d %s", call, h.name, j.Client(), at, left, os.Getpid(), given))
	defer func() {
		note(h.truth, fmt.Sprintf("over %s %s %v %d 0 %d %s", call, h.name, j.Client(), now(), os.Getpid(), none))
	}()
	if work > 0 {
		var done <-chan struct{}
		if !deaf {
			done = j.Done()
		}
		timer := time.NewTimer(work)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
			return session.Failed, wire.Failure(0, "interrupted", nil)
		}
	}
	if fail {
		return session.Failed, wire.Failure(0, call, nil)
	}
	return session.OK, append([]byte(call+" "), j.Args...)
}
