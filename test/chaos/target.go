//go:build linux

package main

import (
	"path/filepath"
	"syscall"

	"rpcpool.dev/test/internal/proc"
)

// target is the process that a hit is for; 0 if there is none now.
func (k *killer) target(s *server, kind hitKind, lot uint64) int {
	switch kind {
	case hitSidecar, hitServe, hitTermSidecar, hitTermServe, hitBoth:
		return s.sidecar.running()
	case hitAgent, hitTermAgent:
		return s.agentPID()
	case hitGuard:
		return s.guardPID()
	default:
		workers := below(s.agentPID(), proc.Worker)
		if len(workers) == 0 {
			return 0
		}
		return workers[lot%uint64(len(workers))]
	}
}

// guardName is how the guard of an agent calls itself.
const guardName = proc.Agent + "-guard"

// agentUnit is the process that was started to be the server's agent: the
// guard, if it has one, or the agent itself; 0 if there is none now.
func (s *server) agentUnit() int {
	if s.pair() {
		return s.agent.running()
	}
	pid := s.sidecar.running()
	if guard := first(below(pid, guardName)); guard > 0 {
		return guard
	}
	return first(below(pid, proc.Agent))
}

// agentPID is the server's agent; 0 if there is none now.
func (s *server) agentPID() int {
	pid := s.agentUnit()
	if named(pid, guardName) {
		return first(below(pid, proc.Agent))
	}
	return pid
}

// guardPID is its guard; 0 if it has none.
func (s *server) guardPID() int {
	if pid := s.agentUnit(); named(pid, guardName) {
		return pid
	}
	return 0
}

// strikeAgent does something to the agent, or its guard, that ends both.
func (s *server) strikeAgent(pid int, sig syscall.Signal) {
	if pid == 0 {
		return
	}
	if s.pair() {
		s.agent.doom()
	}
	_ = syscall.Kill(pid, sig)
}

func first(pids []int) int {
	if len(pids) == 0 {
		return 0
	}
	return pids[0]
}

// below lists the processes below one that run under a name.
func below(pid int, name string) (pids []int) {
	if pid == 0 {
		return nil
	}
	all, err := proc.Descendants(pid)
	if err != nil {
		return nil
	}
	for _, p := range all {
		if p.State != 'Z' && named(p.PID, name) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

func named(pid int, name string) bool { return pid > 0 && filepath.Base(proc.Argument0(pid)) == name }
