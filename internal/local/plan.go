package local

import (
	"fmt"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/manifest"
)

// Host is the address that everything listens on: one machine's pools are for
// that machine.
const Host = "127.0.0.1"

const maxPort = 65535

// Plan says what runs where.
type Plan struct {
	Trackers []Tracker `json:"trackers"`
	Servers  []Server  `json:"servers"`
	// Notes say what of the manifests has no meaning on one machine.
	Notes []string `json:"notes,omitempty"`
}

// Tracker is a tracker to run.
type Tracker struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Address   string   `json:"address"` // HOST:PORT
	Pools     []string `json:"pools"`

	source manifest.Source
}

// Server is a server to run: one device of a pool.
type Server struct {
	Name      string   `json:"name"` // the pool's, and an ordinal
	Namespace string   `json:"namespace"`
	Key       string   `json:"key"`
	Address   string   `json:"address"` // HOST:PORT
	Tracker   string   `json:"tracker"` // HOST:PORT
	Command   []string `json:"command"` // program, as a path, and arguments
	Settings  Settings `json:"-"`

	source manifest.Source
}

// NewPlan plans the pools, in their order. lookup finds the program that a
// worker's command names. Ports: a tracker takes its spec.tracker.port; the
// servers of a pool take spec.server.port and those that follow, without the
// ones that an earlier pool or a tracker has. The error is [manifest.Errors]:
// everything that this machine cannot do, a line each.
func NewPlan(pools []manifest.Pool, lookup func(program string) (string, error)) (Plan, error) {
	p := planner{
		lookup: lookup, trackers: map[string]int{}, taken: map[int]string{},
		problems: map[manifest.Source]manifest.Errors{},
	}
	// All trackers come first: their ports are fixed, the servers' are not.
	for i := range pools {
		p.addTracker(&pools[i])
	}
	for i := range pools {
		p.addServers(&pools[i])
	}
	if len(p.problems) > 0 {
		return Plan{}, inOrder(pools, p.problems)
	}
	return p.plan, nil
}

// inOrder sorts the problems by document.
func inOrder(pools []manifest.Pool, problems map[manifest.Source]manifest.Errors) manifest.Errors {
	var all manifest.Errors
	for i := range pools {
		all = append(all, problems[pools[i].Source]...)
	}
	return all
}

// planner is the state of one NewPlan.
type planner struct {
	plan     Plan
	lookup   func(string) (string, error)
	trackers map[string]int // namespace/name: index in plan.Trackers
	taken    map[int]string // port: who has it
	problems map[manifest.Source]manifest.Errors
}

func (p *planner) fail(source manifest.Source, err *field.Error) {
	p.problems[source] = append(p.problems[source], source.Errorf("%w", err))
}

func (p *planner) note(pool *manifest.Pool, text string) {
	p.plan.Notes = append(p.plan.Notes, pool.Source.String()+": "+text)
}

// addTracker plans the pool's tracker, unless an earlier pool shares it.
func (p *planner) addTracker(pool *manifest.Pool) {
	spec := pool.Spec.Tracker
	path := field.NewPath("spec", "tracker", "port")
	id := pool.Namespace + "/" + spec.Name
	port := int(spec.Port)
	if i, shared := p.trackers[id]; shared {
		tracker := &p.plan.Trackers[i]
		if want := address(port); want != tracker.Address {
			p.fail(pool.Source, field.Invalid(path, spec.Port, fmt.Sprintf(
				"tracker %s is shared with pool %s, which says %s", spec.Name, tracker.Pools[0], tracker.Address)))
		}
		tracker.Pools = append(tracker.Pools, pool.Name)
		return
	}
	if owner, taken := p.taken[port]; taken {
		p.fail(pool.Source, field.Invalid(path, spec.Port, "the port is "+owner+"'s"))
		return
	}
	p.taken[port] = "tracker " + id
	p.trackers[id] = len(p.plan.Trackers)
	p.plan.Trackers = append(p.plan.Trackers, Tracker{
		Name: spec.Name, Namespace: pool.Namespace, Address: address(port),
		Pools: []string{pool.Name}, source: pool.Source,
	})
}

// addServers plans the pool's servers.
func (p *planner) addServers(pool *manifest.Pool) {
	p.checkSupport(pool)
	command, ok := p.command(pool)
	if !ok {
		return
	}
	tracker := address(int(pool.Spec.Tracker.Port))
	settings := p.settings(pool)
	port := int(pool.Spec.Server.Port)
	for ordinal := range replicas(&pool.Spec) {
		for p.taken[port] != "" {
			port++
		}
		if port > maxPort {
			p.fail(pool.Source, field.Invalid(field.NewPath("spec", "server", "port"), pool.Spec.Server.Port,
				fmt.Sprintf("%d servers do not fit between it and %d", replicas(&pool.Spec), maxPort)))
			return
		}
		name := pool.Name + "-" + strconv.Itoa(ordinal)
		p.taken[port] = "server " + name
		p.plan.Servers = append(p.plan.Servers, Server{
			Name: name, Namespace: pool.Namespace, Key: pool.DeviceKey(),
			Address: address(port), Tracker: tracker, Command: command, Settings: settings,
			source: pool.Source,
		})
	}
}

// checkSupport refuses what needs a cluster.
func (p *planner) checkSupport(pool *manifest.Pool) {
	spec := field.NewPath("spec")
	rdma := pool.Spec.RDMA
	if rdma == nil {
		return
	}
	switch rdma.Mode {
	case v1alpha1.RDMARequired:
		p.fail(pool.Source, field.Invalid(spec.Child("rdma", "mode"), rdma.Mode, "needs a cluster node with RDMA"))
	case v1alpha1.RDMAAuto:
		p.note(pool, "spec.rdma is off: it needs a cluster node with RDMA")
	}
}

// command returns the worker with its program found.
func (p *planner) command(pool *manifest.Pool) ([]string, bool) {
	command := pool.Spec.WorkerCommand()
	path := field.NewPath("spec", "server", "command")
	if len(pool.Spec.Server.Command) == 0 {
		path = field.NewPath("spec", "template", "spec", "containers")
	}
	if len(command) == 0 { // the rules of the manifest see to it that there is one
		p.fail(pool.Source, field.Required(path, "no worker"))
		return nil, false
	}
	program, err := p.lookup(command[0])
	if err != nil {
		p.fail(pool.Source, field.Invalid(path, command[0], err.Error()))
		return nil, false
	}
	command[0] = program
	return command, true
}

func address(port int) string {
	return net.JoinHostPort(Host, strconv.Itoa(port))
}
