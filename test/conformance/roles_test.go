//go:build linux

package conformance

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/supervise/agent"
	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/misbehave"
)

// agentMain is the agent's program: its flags are those of the shipped one.
func agentMain(args []string) int {
	o := agent.Options{Logger: agent.LogOptions{Level: slog.LevelWarn}.Logger(os.Stderr)}
	flags := flag.NewFlagSet(agentName, flag.ContinueOnError)
	flags.StringVar(&o.Socket, "socket", "", "")
	flags.StringVar(&o.WorkRoot, "work-root", "", "")
	flags.BoolVar(&o.NoCgroup, "no-cgroup", false, "")
	dieWithParent := flags.Bool("die-with-parent", false, "")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := runAgent(o, *dieWithParent); err != nil {
		fmt.Fprintln(os.Stderr, agentName+":", err)
		return 1
	}
	return 0
}

func runAgent(o agent.Options, dieWithParent bool) error {
	if dieWithParent {
		if err := agent.Guarded(agent.LogOptions{Level: slog.LevelWarn}); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if dieWithParent {
		watched, stop, err := agent.WithParent(ctx, os.Stdin)
		if err != nil {
			return err
		}
		defer stop()
		ctx = watched
	}
	return agent.Run(ctx, o)
}

// workerMain is a worker with every misbehaving function, and some ways to
// misbehave before there is a session.
func workerMain(args []string) int {
	flags := flag.NewFlagSet(workerName, flag.ContinueOnError)
	flavour := flags.String("flavour", "C", "session encoding")
	noise := flags.Bool("noise", false, "write garbage to the control socket before anything else")
	dead := flags.String("dead-if", "", "exit 9 at the start of a session if this file exists")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	f, err := tvm.ParseFlavour(*flavour)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	s := worker.New(f)
	if err := registerAll(s, *dead); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if *noise && os.Getenv("RPCPOOL_SESSION") == "unix" {
		makeNoise()
	}
	return worker.Main(s)
}

// makeNoise abuses the control socket, as a program gone wild might that finds
// descriptor 3 open.
func makeNoise() {
	junk := make([]byte, 1<<10)
	for i := range junk {
		junk[i] = byte(i)
	}
	for range 8 {
		_, _ = syscall.Write(3, junk)
	}
	_, _ = syscall.Write(3, []byte("RRRRRRRR"))
}

// registerAll offers the misbehaving functions and those of this package.
func registerAll(s *worker.Server, dead string) error {
	if err := misbehave.Register(s); err != nil {
		return err
	}
	for name, fn := range map[string]any{
		"test.setenv": os.Setenv,
		"test.cwd":    os.Getwd,
		"test.write":  func(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) },
		"test.allow_core": func() error {
			return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: 1 << 30, Max: 1 << 30})
		},
		"test.hang": func(file string) error { // the file tells that the call has begun
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return err
			}
			time.Sleep(5 * time.Minute)
			return nil
		},
		"tvm.rpc.server.start": func() {
			if _, err := os.Stat(dead); dead != "" && err == nil {
				os.Exit(9)
			}
		},
	} {
		if err := s.Register(name, fn); err != nil {
			return err
		}
	}
	return nil
}

// serveMain is a server in a process of its own, as `rpcpool serve` runs it. It
// prints the address that it listens on.
func serveMain(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var shared sidecar.Flags
	flags := flag.NewFlagSet(serveName, flag.ContinueOnError)
	shared.Register(flags)
	a := sidecar.AgentOptions{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	flags.StringVar(&a.Path, "agent", "", "")
	flags.StringVar(&a.Dir, "dir", "", "")
	err := flags.Parse(args)
	if err == nil {
		err = serve(ctx, &shared, a, flags.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, serveName+":", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, shared *sidecar.Flags, a sidecar.AgentOptions, command []string) error {
	o, err := shared.Options()
	if err != nil {
		return err
	}
	o.AgentSocket, o.Command, o.Logger = a.Socket(), command, a.Logger
	s, err := sidecar.New(o)
	if err != nil {
		return err
	}
	fmt.Println(s.Addr())
	if a.Path == "" { // the agent runs elsewhere
		return s.Run(ctx)
	}
	return sidecar.RunWithAgent(ctx, s, a)
}
