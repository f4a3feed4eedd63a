//go:build unix

package worker

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"rpcpool.dev/workers/go/watchdog"
)

// series is a worker that serves sessions itself, one after another. What ends
// the process at a session's deadline is its watchdog.
//
//	          S + fd                          the session's end
//	Waiting ──────────▶ Serving, watchdog armed ──────────▶ Waiting: R, or PR if its client broke the protocol
//	   │ EOF               │ deadline: exit 0
//	   ▼                   │ any other failure: exit 1
//	 exit 0                ▼ killed by a bad function: as it died
type series struct {
	server *Server
	pulse  *pulse
	dog    *watchdog.Watchdog
	home   string // where it waits
}

// serveSeries serves sessions until no more come.
func serveSeries(s *Server, p *pulse) int {
	syscall.CloseOnExec(contractFD)
	home, err := os.Getwd()
	if err != nil {
		return complain(err)
	}
	dog, err := watchdog.New(watchdog.Options{})
	if err != nil {
		return complain(err)
	}
	defer dog.Close()
	r := &series{server: s, pulse: p, dog: dog, home: home}
	for ready := []byte{readyByte}; ; {
		g, err := nextGuest(contractFD, ready, p)
		if err == nil && g.about.WorkDir == "" {
			err = errors.New("hand-over: no workdir")
		}
		if err != nil {
			return complain(err)
		}
		err = r.host(g)
		switch exitStatus(err) {
		case ExitOK:
			ready = []byte{readyByte}
		case ExitProtocol:
			ready = []byte{protocolByte, readyByte}
		default:
			return exitStatus(err)
		}
	}
}

// host serves one session in its own directory. The deadline is over the whole
// of it.
func (r *series) host(g guest) error {
	if d := g.about.timeout(); d > 0 {
		if err := r.dog.Start(d); err != nil {
			return fmt.Errorf("session: %w", err)
		}
		defer r.dog.Stop()
	}
	dir := g.about.WorkDir
	set := setting{workDir: dir, pulse: r.pulse, deadline: g.about.deadline(), tidy: true}
	vars := g.about.env()
	vars[envWorkDir], vars[envTemporary] = dir, dir
	restore, err := setEnv(vars)
	if err == nil {
		err = os.Chdir(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "rpcpool worker: session with %s: %v\n", g.about.Client, err)
		return fmt.Errorf("session: %w", err) // which ends the process, and so the session
	}
	failed := r.server.host(g, set)
	restore()
	if err := os.Chdir(r.home); err != nil {
		return fmt.Errorf("leave the session's directory: %w", err)
	}
	return failed
}
