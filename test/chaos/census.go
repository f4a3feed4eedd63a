//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"rpcpool.dev/test/internal/proc"
)

// census is what is there while nobody is served.
type census struct {
	problems []violation    // what should not be there
	fds      map[string]int // by program
	rss      map[string]float64
}

// take looks at everything once.
func (f *fleet) take(ctx context.Context) census {
	c := census{fds: map[string]int{}, rss: map[string]float64{}}
	if err := f.allFree(ctx); err != nil {
		c.add(ruleDevices, "%v", err)
	}
	c.add(ruleOrphans, "%s", strings.Join(f.strays(), ", "))
	notify := notifySockets()
	agents := map[int]bool{}
	for _, s := range f.servers {
		spares := 1
		if s.mode == modeCold {
			spares = 0
		}
		agent := s.agentPID()
		agents[agent] = true
		if workers := below(agent, proc.Worker); len(workers) != spares {
			c.add(ruleOrphans, "server %d has workers %v, and should have %d", s.index, workers, spares)
		}
		dirs, _ := filepath.Glob(filepath.Join(s.workRoot(), "rpcpool-work-*"))
		if len(dirs) != spares {
			c.add(ruleFiles, "server %d has work directories %q, and should have %d", s.index, dirs, spares)
		}
		if n := openAmong(agent, notify); n > spares {
			c.add(ruleFiles, "the agent of server %d has %d notification sockets, and should have at most %d", s.index, n, spares)
		}
		c.measure(fmt.Sprintf("agent %d", s.index), agent)
		if guard := s.guardPID(); guard > 0 {
			c.measure(fmt.Sprintf("guard %d", s.index), guard)
		}
		c.measure(fmt.Sprintf("%s %d", sidecarWord(s), s.index), s.sidecar.running())
	}
	c.measure("tracker", f.tracker.running())
	if groups := f.deadGroups(); len(groups) > 0 {
		c.add(ruleFiles, "groups of dead agents: %q", groups)
	}
	return c
}

func sidecarWord(s *server) string {
	if s.pair() {
		return "sidecar"
	}
	return "serve"
}

func (c *census) add(rule, format string, a ...any) {
	if what := fmt.Sprintf(format, a...); what != "" {
		c.problems = append(c.problems, violation{rule, what})
	}
}

func (c *census) measure(name string, pid int) {
	files, err := proc.OpenFiles(pid)
	rss, rssErr := proc.ResidentBytes(pid)
	if err := errors.Join(err, rssErr); err != nil {
		c.add(ruleAlive, "%s: %v", name, err)
		return
	}
	c.fds[name], c.rss[name] = len(files), rss
}
