package calls

import (
	"flag"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/rdma/keeper"
)

// Bounds of the flags.
const (
	maxWorkers     = 1024
	maxConcurrency = 1024
	minJournal     = 16 << 10 // bytes
	maxJournal     = 32 << 30
	minMessages    = 2 * (conn.DefaultMaxMessage + 16<<20) // the longest one has room, and what is around it
	minResults     = 2 * conn.DefaultMaxMessage            // the same
	maxMessages    = 1 << 40                               // and results
)

// Flags are the command-line flags of a server of calls, the same in every program that
// runs one.
type Flags struct {
	options Options
	listen  string
	unix    string
	grpc    bool
	blobs   bool
	join    JoinOptions

	accumulators string
	rdma         keeper.Flags
	network      Network
	set          *flag.FlagSet
}

// Register adds the flags to a flag set.
func (f *Flags) Register(flags *flag.FlagSet) {
	o := &f.options
	flags.StringVar(&f.listen, "listen", "0.0.0.0:9090", "`HOST:PORT` for clients; the port may be 0 or a range such as 9090-9199")
	flags.StringVar(&f.unix, "unix", "", "`PATH` of a Unix socket for clients, too; @NAME is an abstract one; empty: none")
	flags.BoolVar(&f.grpc, "grpc", true, "serve gRPC on the same addresses; false: native calls only")
	flags.IntVar(&o.Workers, "workers", 1, "`workers` that serve; one more is kept as a spare")
	flags.IntVar(&o.Concurrency, "concurrency", 1, "`calls` that run in a worker at once")
	flags.StringVar(&o.Journal, "journal", "", "`FILE` that keeps the table of calls over a crash of the server; empty: clients are told that it is lost")
	flags.Int64Var(&o.JournalSize, "journal-size", 16<<20, "`bytes` of a journal that is made; a quarter of it is for replies")
	flags.Uint64Var(&o.MessageMemory, "message-memory", 0, "`bytes` for messages of clients, over all connections: half for long ones, for which native clients wait and those of gRPC are refused, half for connections, of 1 MiB each, of gRPC 128 KiB; at least 160 MiB; 0: each connection has bounds of its own")
	flags.Uint64Var(&o.ResultMemory, "result-memory", 0, "`bytes` for results on their way to clients: half for those that are being sent, which wait in their workers for room, half for short ones in native connections' queues, of 1 MiB each; at least 128 MiB; 0: no bound")
	o.Blobs.register(flags, &f.blobs)
	f.join.register(flags)
	f.network.RegisterServer(flags)
	f.rdma.Register(flags)
	f.set = flags
	flags.StringVar(&f.accumulators, "accumulators", "", "`ADDR`, as unix:PATH or HOST:PORT, that workers and others write accumulators to, which /metrics has then; empty: none")
	flags.DurationVar(&o.MaxTimeout, "max-timeout", 0, "time of a call at most, also if the client says none; 0: none")
	flags.DurationVar(&o.KillGrace, "kill-grace", 2*time.Second, "time for a call to end after its deadline, before its worker is killed")
	flags.DurationVar(&o.StartTimeout, "start-timeout", 30*time.Second, "time for a worker to become ready")
	flags.DurationVar(&o.DrainTimeout, "drain-timeout", 30*time.Second, "how long calls may go on after SIGTERM; 0 ends their workers")
}

// Options checks the flags and opens the listeners. An error names the flag that is
// wrong.
func (f *Flags) Options() (Options, error) {
	if err := f.complete("blob", "rdma-"); err != nil {
		return Options{}, err
	}
	if err := f.check(); err != nil {
		return Options{}, err
	}
	o := f.options
	o.NoGRPC, o.Blobs.Off = !f.grpc, !f.blobs
	if err := f.completeNetwork(&o); err != nil {
		return Options{}, err
	}
	listener, err := tcp.Listen(f.listen)
	if err != nil {
		return Options{}, fmt.Errorf("--listen: %w", err)
	}
	o.Listeners = []net.Listener{listener}
	if f.unix != "" {
		u, err := listenUnix(f.unix)
		if err != nil {
			_ = listener.Close()
			return Options{}, fmt.Errorf("--unix: %w", err)
		}
		o.Listeners = append(o.Listeners, u)
	}
	return o, nil
}

func (f *Flags) check() error {
	o := &f.options
	switch {
	case o.Workers < 1 || o.Workers > maxWorkers:
		return fmt.Errorf("--workers: %d is not between 1 and %d", o.Workers, maxWorkers)
	case o.Concurrency < 1 || o.Concurrency > maxConcurrency:
		return fmt.Errorf("--concurrency: %d is not between 1 and %d", o.Concurrency, maxConcurrency)
	case o.JournalSize < minJournal || o.JournalSize > maxJournal:
		return fmt.Errorf("--journal-size: %d is not between %d and %d", o.JournalSize, minJournal, int64(maxJournal))
	case o.MessageMemory != 0 && (o.MessageMemory < minMessages || o.MessageMemory > maxMessages):
		return fmt.Errorf("--message-memory: %d is neither 0 nor between %d and %d", o.MessageMemory, minMessages, uint64(maxMessages))
	case o.ResultMemory != 0 && (o.ResultMemory < minResults || o.ResultMemory > maxMessages):
		return fmt.Errorf("--result-memory: %d is neither 0 nor between %d and %d", o.ResultMemory, minResults, uint64(maxMessages))
	case o.MaxTimeout < 0:
		return fmt.Errorf("--max-timeout: %s is negative", o.MaxTimeout)
	case o.KillGrace <= 0:
		return fmt.Errorf("--kill-grace: %s is not a positive duration", o.KillGrace)
	case o.StartTimeout <= 0:
		return fmt.Errorf("--start-timeout: %s is not a positive duration", o.StartTimeout)
	case o.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout: %s is negative", o.DrainTimeout)
	}
	return o.Blobs.check()
}
