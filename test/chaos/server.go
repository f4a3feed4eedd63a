//go:build linux

package main

import (
	"fmt"
	"path/filepath"

	"rpcpool.dev/test/internal/proc"
)

// mode is how a server runs its workers.
type mode string

// server is one device.
type server struct {
	index   int
	mode    mode
	addr    string
	dir     string
	sidecar *unit // rpcpool-sidecar, or rpcpool serve
	agent   *unit // nil below rpcpool serve
}

// modesOf lists the modes that servers take in turns.
func modesOf(isolation string, watchdog bool) ([]mode, error) {
	mixed := []mode{modeWarm, modeWarm, modeCold, modeCold, modeWatchdog, modeWatchdog, modeWarm, modeWarm}
	switch isolation {
	case "fork":
		return []mode{modeWarm}, nil
	case "cold":
		return []mode{modeCold}, nil
	case "watchdog":
		if !watchdog {
			return nil, usageError{"the programs have no --isolation watchdog"}
		}
		return []mode{modeWatchdog}, nil
	case "mixed":
		if !watchdog {
			mixed = mixed[:4]
		}
		return mixed, nil
	default:
		return nil, usageError{fmt.Sprintf("-isolation %q: want fork, cold, watchdog or mixed", isolation)}
	}
}

// server prepares a server: every third is one program with its agent below it,
// the others are pairs.
func (f *fleet) server(i int, m mode, addr string) *server {
	s := &server{index: i, mode: m, addr: addr, dir: filepath.Join(f.dir, fmt.Sprintf("s%d", i))}
	name := fmt.Sprintf("s%d", i)
	flags := append(f.flags(m), "--listen", addr)
	worker := []string{"--", filepath.Join(f.bin, proc.Worker), "--test-functions"}
	if i%3 == 1 {
		args := append([]string{"serve", "--log-format", "json", "--data-dir", s.dir}, flags...)
		s.sidecar = f.unit(name+"-serve", i, proc.CLI, append(args, worker...)...)
		return s
	}
	s.agent = f.unit(name+"-agent", i, proc.Agent, "--log-format", "json", "--socket", s.socket(), "--work-root", s.workRoot())
	args := append([]string{"--agent-socket", s.socket(), "--metrics", ""}, flags...)
	s.sidecar = f.unit(name+"-sidecar", i, proc.Sidecar, append(args, worker...)...)
	return s
}

func (f *fleet) flags(m mode) []string {
	flags := []string{
		"--key", deviceKey, "--tracker", f.address, "--kill-grace", killGrace.String(), "--reap-timeout", reapTime.String(),
		"--handshake-timeout", handshakeTime.String(), "--start-timeout", startTime.String(),
	}
	if f.limits {
		flags = append(flags, "--limit-memory", fmt.Sprint(limitMemory),
			"--limit-processes", fmt.Sprint(limitProcesses), "--limit-open-files", fmt.Sprint(limitFiles))
	}
	switch m {
	case modeCold:
		return append(flags, "--warm", "0")
	case modeWatchdog:
		return append(flags, "--isolation", "watchdog")
	default:
		return append(flags, "--warm", "1")
	}
}

// pair tells whether sidecar and agent are programs of their own.
func (s *server) pair() bool { return s.agent != nil }

func (s *server) socket() string { return filepath.Join(s.dir, "agent.sock") }

func (s *server) workRoot() string { return filepath.Join(s.dir, "work") }
