package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

func TestForkBombDiesByEachWayOfKilling(t *testing.T) {
	ways := map[string]func(t *testing.T, g *groups, limits supervise.Limits) *group{
		"by version 2": func(t *testing.T, g *groups, limits supervise.Limits) *group {
			w, err := g.make("bomb", limits)
			if err != nil {
				t.Fatal(err)
			}
			if w.unified == "" {
				t.Skip("no version 2 hierarchy is writable here")
			}
			if _, err := os.Stat(filepath.Join(w.unified, "cgroup.kill")); err != nil {
				t.Skip("this kernel has no cgroup.kill")
			}
			return w
		},
		"by the freezer": func(t *testing.T, g *groups, limits supervise.Limits) *group {
			w, err := withFreezer(t, g).make("bomb", limits)
			if err != nil {
				t.Fatal(err)
			}
			if w.freezer == "" || w.unified != "" {
				t.Fatalf("group %+v", w)
			}
			return w
		},
		"by hand": func(t *testing.T, g *groups, limits supervise.Limits) *group {
			old := withFreezer(t, g)
			freezer := old.controllers[controlFreezer]
			delete(old.controllers, controlFreezer)
			t.Cleanup(func() { _ = syscall.Rmdir(freezer) })
			w, err := old.make("bomb", limits)
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			g := testGroups(t)
			if why := g.unbounded()["processes"]; why != "" {
				t.Skipf("a fork bomb cannot be bounded here: %s", why)
			}
			w := way(t, g, supervise.Limits{Processes: bombLimit})
			t.Cleanup(func() {
				if err := w.remove(); err != nil {
					t.Error(err)
				}
			})
			cmd := trampolined(t, w, "bomb")
			w.started()
			full := func() bool { return len(members(w.dirs[len(w.dirs)-1])) >= bombLimit*2/3 }
			eventually(t, "the bomb has gone off", full)
			began, kills := time.Now(), 0
			eventually(t, "nothing of the bomb is left", func() bool {
				kills++
				w.kill()
				return !w.populated()
			})
			t.Logf("%d processes were gone after %v, %d kills", bombLimit, time.Since(began).Round(time.Millisecond), kills)
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("the bomb's first process: %v", err)
			}
			eventually(t, "no zombies of it are left", func() bool {
				reapOthers(t)
				return !zombieWaits()
			})
		})
	}
}

// pidsGroup makes a group that bounds processes, whatever the agent does.
func pidsGroup(t *testing.T) string {
	t.Helper()
	all, err := readCgroups("/")
	if err != nil {
		t.Fatal(err)
	}
	own, ok := all.dir(controlPids)
	if !ok {
		t.Skip("a fork bomb cannot be bounded here: no version 1 pids hierarchy is mounted")
	}
	dir := filepath.Join(own, fmt.Sprintf("rpcpool-agent-bomb-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("a fork bomb cannot be bounded here: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, "the pids group is empty", func() bool { return groupAt(dir).remove() == nil })
	})
	if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(fmt.Sprint(bombLimit)), 0); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A whole agent kills a bomb, and serves its neighbour meanwhile.
func TestRow009_ForkBombEndsWithItsSession(t *testing.T) {
	withAndWithoutCgroup(t, func(t *testing.T, f *fixture) {
		start := f.limited(supervise.Limits{}, "bomb", "")
		if f.options.NoCgroup {
			start.Argv[2] = pidsGroup(t)
		} else {
			start.Argv, start.Limits.Processes = start.Argv[:2], bombLimit
			bounded(t, f, "processes")
		}
		neighbour := f.cold("neighbour", f.behaviour("echo"), 0)
		expect(t, f.cold("bomb", start, 0), "up")
		f.kill("bomb", supervise.CauseTimeout, 50*time.Millisecond)
		r := f.exit("bomb", supervise.CauseTimeout)
		t.Logf("gone after %v", r.Wall.Round(time.Millisecond))
		if _, err := neighbour.Write([]byte("alive")); err != nil {
			t.Fatal(err)
		}
		expect(t, neighbour, "alive")
		_ = neighbour.Close()
		f.exit("neighbour", supervise.CauseCompleted)
	})
}
