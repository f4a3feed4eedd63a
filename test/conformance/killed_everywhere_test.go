//go:build linux

package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rpcpool.dev/workers/go/client"
)

// pod is a server as in a device's pod: sidecar and agent are programs that do
// not depend on each other, and whoever runs them starts each again.
type pod struct {
	owner   *testing.T // until its end the programs run
	t       *testing.T // of the moment
	tr      *trackerProc
	dir     string
	flags   []string
	sidecar *serveProcess
	agent   *exec.Cmd
}

func startPod(t *testing.T, tr *trackerProc, flags ...string) *pod {
	t.Helper()
	p := &pod{owner: t, t: t, tr: tr, dir: tempDir(t), flags: flags}
	p.restart()
	t.Cleanup(func() { p.kill(true, true) })
	return p
}

// restart starts what does not run, and waits until the device is offered.
func (p *pod) restart() {
	p.t.Helper()
	if p.agent == nil {
		p.agent = exec.Command(agentPath, "--socket", filepath.Join(p.dir, "agent.sock"), "--work-root", filepath.Join(p.dir, "work"))
		p.agent.Stderr = os.Stderr
		if err := p.agent.Start(); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.sidecar == nil {
		p.sidecar = startServeIn(p.owner, p.tr, p.dir, p.flags...)
	}
}

// kill kills one or both, at the same moment.
func (p *pod) kill(agent, sidecar bool) {
	if agent && p.agent != nil {
		_ = p.agent.Process.Kill()
	}
	if sidecar && p.sidecar != nil {
		_ = p.sidecar.Process.Kill()
	}
	if agent && p.agent != nil {
		_ = p.agent.Wait()
		p.agent = nil
	}
	if sidecar && p.sidecar != nil {
		_ = p.sidecar.Wait()
		p.sidecar = nil
	}
}

// processes are those of the pod, by its directory in their command lines, and
// what is below them.
func (p *pod) processes() []int {
	var all []int
	for _, c := range []*exec.Cmd{p.agent, p.sidecar.Cmd} {
		all = append(all, c.Process.Pid)
		all = append(all, descendants(c.Process.Pid)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// recovers checks that the device comes back by itself, once, with nothing of
// the past.
func (p *pod) recovers(past []int) {
	p.t.Helper()
	eventually(p.t, patience, "the device is free, and one", func() bool {
		servers := p.tr.Summary().Servers
		return len(servers) == 1 && servers[0].State() == "free"
	})
	p.tr.works()
	for _, pid := range past {
		eventually(p.t, patience, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) || p.serves(pid) })
	}
	eventually(p.t, patience, "only the spare has a work directory", func() bool {
		entries, _ := filepath.Glob(filepath.Join(p.dir, "work", "rpcpool-work-*"))
		return len(entries) <= 1
	})
}

// serves tells whether a process is a long-lived worker that survived its
// session, in order, and serves the next ones.
func (p *pod) serves(pid int) bool {
	_, parent, ok := stat(pid)
	return ok && slices.Contains(p.flags, "watchdog") && parent == p.agent.Process.Pid
}

// moment is a point of a session's life: reach brings it about and returns what
// belongs to the session, and how its client finds out about the end.
type moment struct {
	name  string
	reach func(t *testing.T, p *pod) (processes []int, end func() error)
}

var moments = []moment{
	{"while the device is free", func(*testing.T, *pod) ([]int, func() error) {
		return nil, func() error { return nil }
	}},
	{"between the grant and the handshake", func(_ *testing.T, p *pod) ([]int, func() error) {
		addr, ticket := p.tr.ticket()
		return nil, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			s, err := client.Dial(ctx, addr, ticket, client.Options{})
			if err == nil { // nobody was hurt
				return s.Close()
			}
			return nil
		}
	}},
	{"between two calls", func(t *testing.T, p *pod) ([]int, func() error) {
		s := p.tr.open(client.Options{Timeout: time.Minute})
		pid := pidOf(t, s)
		return []int{pid}, func() error { return ends(s, "test.addone", 1) }
	}},
	{"in a call", func(t *testing.T, p *pod) ([]int, func() error) {
		s := p.tr.open(client.Options{Timeout: time.Minute})
		pids := append(parsePIDs(t, call(t, s, "test.grandchildren", 2).(string)), pidOf(t, s))
		began := filepath.Join(tempDir(t), "began")
		done := make(chan error, 1)
		go func() {
			_, err := tryCall(s, "test.hang", began)
			done <- err
		}()
		eventually(t, patience, "the call has begun", func() bool {
			_, err := os.Stat(began)
			return err == nil
		})
		return pids, func() error { return ended(s, done) }
	}},
	{"while it is killed at its deadline", func(t *testing.T, p *pod) ([]int, func() error) {
		began := time.Now()
		s := p.tr.open(client.Options{Timeout: time.Second})
		pid := pidOf(t, s)
		done := make(chan error, 1)
		go func() {
			_, err := tryCall(s, "test.ignore_sigterm")
			done <- err
		}()
		eventually(t, patience, "the deadline is over, and the grace runs", func() bool {
			return time.Since(began) > 1200*time.Millisecond
		})
		return []int{pid}, func() error { return ended(s, done) }
	}},
}

// ends calls a function until the session is over: the call fails, or the client
// closes the session that goes on.
func ends(s *client.Session, name string, args ...any) error {
	if _, err := tryCall(s, name, args...); err == nil {
		return s.Close()
	}
	_ = s.Close()
	return nil
}

// ended waits for the end of a call. One that goes on is ended by its client,
// which goes away.
func ended(s *client.Session, done <-chan error) error {
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		_ = s.NetConn().Close()
		if err := <-done; err == nil {
			return fmt.Errorf("the call succeeded")
		}
	}
	_ = s.Close()
	return nil
}

// SIGKILL of the agent, of the sidecar, and of both, at every point of a
// session: the client has a definite end, nothing is left of the session, and
// the device comes back by itself and is offered once.
func TestKilledAtEveryPointOfASession(t *testing.T) {
	t.Parallel()
	for _, victims := range []struct {
		name           string
		agent, sidecar bool
	}{{"agent", true, false}, {"sidecar", false, true}, {"both", true, true}} {
		t.Run(victims.name, func(t *testing.T) {
			t.Parallel()
			for _, isolation := range []string{"fork", "watchdog"} {
				tr := startTracker(t)
				p := startPod(t, tr, "--isolation", isolation, "--kill-grace", "500ms")
				for _, m := range moments {
					t.Run(isolation+", "+m.name, func(t *testing.T) {
						p.t, tr.t = t, t
						p.recovers(nil)
						processes, end := m.reach(t, p)
						p.kill(victims.agent, victims.sidecar)
						p.restart()
						if err := end(); err != nil {
							t.Errorf("client: %v", err)
						}
						p.recovers(processes)
					})
				}
				p.t, tr.t = t, t
				// One that has just ended its session may still be on its way out.
				eventually(t, patience, "agent, sidecar, and the spare or the long-lived worker are all that is left", func() bool {
					return len(p.processes()) <= 3
				})
			}
		})
	}
}
