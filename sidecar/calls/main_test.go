package calls

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/worker"
	"rpcpool.dev/rpc/worker/builtin"
	"rpcpool.dev/rpc/workers/direct"
)

// The test's own binary is the workers' program.
func TestMain(m *testing.M) {
	if worker.Inherited() && os.Getenv("WORKER") == "unfit" {
		fmt.Fprintln(os.Stderr, "usage: worker.py [-h]")
		os.Exit(2)
	}
	if worker.Inherited() && os.Getenv("WORKER") == "typed" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if worker.Inherited() {
		methods, err := builtin.Methods()
		if err == nil {
			err = worker.Serve(context.Background(), methods...)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long anything may take here.
const patience = time.Minute

// rig is a server that runs, and a client of it.
type rig struct {
	t      *testing.T
	server *Server
	client *rpc.Client
	unix   string             // path of its Unix socket
	stop   context.CancelFunc // tells the server to stop
	ended  chan error         // has what Run returned
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = starter.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "calls") // short: it is in an address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	u, err := listenUnix(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	o.Listeners = []net.Listener{l, u}
	if o.Starter == nil {
		o.Starter = starter
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &rig{t: t, unix: filepath.Join(dir, "s"), ended: make(chan error, 1)}
	if r.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.server.Run(ctx) }()
	if r.client, err = rpc.Dial(rpc.ClientOptions{Grace: patience}, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.client.Close()
		r.end()
	})
	return r
}

// end stops the server, and returns what Run did.
func (r *rig) end() error {
	r.stop()
	err := <-r.ended
	r.ended <- err
	return err
}

// call calls a method.
func (r *rig) call(method string, args any) (any, error) {
	r.t.Helper()
	return rpc.Call[any](r.t.Context(), r.client, method, args)
}

// running waits until so many calls run.
func (r *rig) running(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d calls run", n), func() bool { return r.server.core.Counts().Running == n })
}

// eventually waits for what no event tells.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
