package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"rpcpool.dev/sidecar/supervise"
)

// groups makes control groups for workers below the agent's own, in every
// hierarchy that is mounted, writable and of use: in version 2, which can kill,
// and which can limit where it is given the controllers; and in those of version
// 1 that have a controller which version 2 lacks.
type groups struct {
	dir         string            // <the agent's own group>/rpcpool-agent-<pid>-<start> in version 2; "" if that cannot be used
	into        bool              // processes can be started in a version 2 group
	controllers map[string]string // the agent's directory, by controller
	delegation  *delegation       // nil: none

	mu    sync.Mutex
	lacks map[string]string // why a controller cannot be used
}

// newGroups makes the agent's directories for its workers' groups and removes
// those of agents that are dead. It fails where none can be made.
func newGroups(proc *procfs) (*groups, error) {
	all, err := readCgroups("/")
	if err != nil {
		return nil, err
	}
	self, err := proc.stat(os.Getpid())
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%d-%d", groupPrefix, self.pid, self.start)
	g := &groups{controllers: map[string]string{}, lacks: map[string]string{}}
	killable, err := g.openUnified(all, name, proc)
	errs := []error{err}
	controllers := []string{controlMemory, controlCPU, controlPids}
	if !killable {
		controllers = append(controllers, controlFreezer)
	}
	for _, c := range controllers {
		if _, have := g.controllers[c]; !have {
			errs = append(errs, g.openV1(all, c, name, proc))
		}
	}
	if g.dir == "" && len(g.controllers) == 0 {
		return nil, errors.Join(errs...)
	}
	return g, nil
}

// openV1 makes the agent's directory in a controller's hierarchy of version 1.
func (g *groups) openV1(all cgroups, controller, name string, proc *procfs) error {
	own, ok := all.dir(controller)
	if !ok {
		return fmt.Errorf("no %s control group is mounted", controller)
	}
	removeDeadGroups(own, proc)
	dir := filepath.Join(own, name)
	if err := makeGroup(dir); err != nil {
		g.lack(controller, err)
		return err
	}
	g.controllers[controller] = dir
	g.lack(controller, nil) // whatever version 2 had to say
	return nil
}

// makeGroup makes a directory in a hierarchy, if it is not there.
func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make control group: %w", err)
	}
	return nil
}

// lack notes why a controller cannot be used, or with nil that it can.
func (g *groups) lack(controller string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.lacks, controller)
		return
	}
	g.lacks[controller] = reason(err)
}

// unbounded names the limits that cannot be enforced here, by the JSON names of
// [supervise.Limits], with the reason.
func (g *groups) unbounded() map[string]string {
	out := map[string]string{}
	for limit, controller := range limitControllers() {
		if g == nil {
			out[limit] = "the agent uses no control groups: none is writable, or they are switched off"
			continue
		}
		g.mu.Lock()
		why, lacks := g.lacks[controller]
		g.mu.Unlock()
		if _, have := g.controllers[controller]; have && !lacks {
			continue
		}
		out[limit] = "no writable " + controller + " control group"
		if why != "" {
			out[limit] += ": " + why
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// make makes the groups of one worker. Where one cannot be made, or its limit
// cannot be set, the worker does without it, and error says so; the group is
// good all the same.
func (g *groups) make(worker string, limits supervise.Limits) (*group, error) {
	if g == nil {
		return nil, nil //nolint:nilnil // the nil group is none
	}
	b := builder{groups: g, group: &group{fd: -1}, name: "worker-" + worker, limits: limits}
	b.unified()
	for _, c := range []string{controlMemory, controlCPU, controlFreezer, controlPids} {
		if dir, have := g.controllers[c]; have && dir != g.dir && wanted(c, limits) {
			b.v1(c, dir)
		}
	}
	b.limitProcesses()
	return b.group, errors.Join(b.errs...)
}

// close removes the agent's directories.
func (g *groups) close() {
	if g == nil {
		return
	}
	for _, dir := range g.controllers {
		_ = syscall.Rmdir(dir)
	}
	if g.dir == "" {
		return
	}
	_ = syscall.Rmdir(g.dir)
	if g.delegation != nil {
		defer lockGroup(g.delegation.base)()
		g.delegation.undo()
	}
}
