package watchdog_test

import (
	"context"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"rpcpool.dev/workers/go/watchdog"
	"rpcpool.dev/workers/go/watchdog/monitor"
)

// A server that accepts and serves sessions itself, where there is no agent and
// perhaps no fork: its watchdog ends a session that takes too long, and with it
// the process.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:9090")
	if err != nil {
		log.Fatal(err)
	}
	w, err := watchdog.New(watchdog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		session, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		if err := w.Start(10 * time.Minute); err != nil {
			log.Fatal(err)
		}
		serve(session)
		w.Stop()
	}
}

func serve(session net.Conn) { _ = session.Close() }

// The program that keeps such a server running.
func Example_monitor() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	m := monitor.Monitor{Command: func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, os.Args[1], os.Args[2:]...)
	}}
	log.Print(m.Run(ctx))
}
