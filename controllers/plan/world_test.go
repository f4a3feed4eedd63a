package plan

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"rpcpool.dev/api/v1alpha1"
)

// node is a machine of the model.
type node struct{ cordoned, silent, gone bool }

// device is a pod of the model with the truth about its server.
type device struct {
	name     string
	uid      types.UID
	ordinal  int
	revision string
	created  time.Time
	node     int // -1: not scheduled
	phase    corev1.PodPhase
	// terminating pods go at a later step; failed ones are retried at retryAt.
	terminating bool
	problem     string
	retryAt     time.Time
	draining    time.Time
	evictable   bool

	// up: the server is registered with the tracker. known by the present tracker.
	// lost: the tracker does not hear of it.
	up, known, lost bool
	// state is what the server would tell: starting, free, quarantined. inSession
	// is the truth, granted what the tracker believes.
	state              ServerState
	inSession, granted bool
	held               bool
}

// world is a model of the API server, the nodes and a tracker.
type world struct {
	now      time.Time
	pool     *v1alpha1.RPCPool
	revision string
	nodes    []node
	pods     []*device
	uids     int
	// taken: a pod that is not the pool's has this name; -1: none has.
	taken   int
	refused string
	full    bool // no node has room for another pod
	// settled tracker; held: it knows the holds of a plan.
	settled, knowsHolds bool
	// views are the pools that the operator's cache may show, the latest last.
	views []poolView
	// zombies are creates of an operator that died, which may still arrive.
	zombies []zombie
	// asked is the most replicas of any plan whose creates may still arrive.
	asked int
}

type poolView struct {
	pool     *v1alpha1.RPCPool
	revision string
}

type zombie struct {
	ordinals []int
	revision string
}

func newWorld(t *rapid.T) *world {
	maxUnavailable := rapid.SampledFrom([]intstr.IntOrString{intstr.FromString("25%"), intstr.FromInt32(1), intstr.FromInt32(3)}).Draw(t, "max unavailable")
	w := &world{
		now: start, revision: "r0", nodes: make([]node, 3), taken: -1, settled: true, knowsHolds: true,
		pool: &v1alpha1.RPCPool{
			ObjectMeta: metav1.ObjectMeta{Name: "rk", Generation: 1},
			Spec: v1alpha1.RPCPoolSpec{
				Replicas: number(rapid.IntRange(0, 12).Draw(t, "replicas")),
				Rollout: v1alpha1.RolloutSpec{
					MaxUnavailable: &maxUnavailable,
					DrainTimeout:   &metav1.Duration{Duration: rapid.SampledFrom([]time.Duration{0, 5 * time.Second, time.Minute}).Draw(t, "drain timeout")},
				},
			},
		},
	}
	w.publish()
	return w
}

// publish makes the pool as it is now the latest that caches may show.
func (w *world) publish() { w.views = append(w.views, poolView{w.pool.DeepCopy(), w.revision}) }

// observe is an observation with one of the views of the pool; older ones are
// never seen again.
func (w *world) observe(view int) Input {
	w.views = w.views[view:]
	seen := w.views[0]
	in := Input{Now: w.now, Pool: seen.pool.DeepCopy(), Revision: seen.revision, Refused: w.refused,
		Tracker: Tracker{Address: "t:9190", Settled: w.settled}}
	in.Pool.Status = *w.pool.Status.DeepCopy()
	for _, d := range w.pods {
		in.Pods = append(in.Pods, w.see(d))
	}
	return in
}

func (w *world) see(d *device) Pod {
	p := Pod{
		Name: d.name, UID: d.uid, Ordinal: d.ordinal, Revision: d.revision, Created: d.created, Phase: d.phase,
		Terminating: d.terminating, Problem: d.problem, RetryAt: d.retryAt, Draining: d.draining, Evictable: d.evictable,
		Unschedulable: d.node < 0 && w.full,
	}
	if d.node >= 0 {
		n := w.nodes[d.node]
		p.Node = fmt.Sprintf("node-%d", d.node)
		p.NodeGone, p.NodeCordoned, p.NodeNotReady = n.gone, n.cordoned, n.silent
		p.Ready = d.up && d.state != ServerStarting && !n.silent
	}
	if d.known {
		p.Server = &Server{State: d.reported(), Since: start}
	}
	return p
}

// reported is the server's state by the tracker's word.
func (d *device) reported() ServerState {
	switch {
	case d.lost:
		return ServerLost
	case d.granted:
		return ServerBusy
	case d.state == ServerFree && d.held:
		return ServerDraining
	default:
		return d.state
	}
}

func (w *world) find(r Ref) *device {
	for _, d := range w.pods {
		if d.uid == r.UID {
			return d
		}
	}
	return nil
}

// make a pod, as the API server does.
func (w *world) make(ordinal int, revision string) error {
	name := fmt.Sprintf("rk-%d", ordinal)
	for _, d := range w.pods {
		if d.name == name {
			return fmt.Errorf("pods %q already exists", name)
		}
	}
	if ordinal == w.taken {
		return fmt.Errorf("pods %q already exists and is not the pool's", name)
	}
	w.uids++
	w.pods = append(w.pods, &device{name: name, uid: types.UID(fmt.Sprintf("uid-%d", w.uids)), ordinal: ordinal,
		revision: revision, created: w.now, node: -1, phase: corev1.PodPending})
	return nil
}

func (w *world) drop(d *device) {
	for i := range w.pods {
		if w.pods[i] == d {
			w.pods = append(w.pods[:i], w.pods[i+1:]...)
			return
		}
	}
}

// advance takes a pod one step further on its way to a free server, or out of
// the world. It says whether there was a step.
func (w *world) advance(d *device) bool {
	silent := d.node >= 0 && (w.nodes[d.node].silent || w.nodes[d.node].gone)
	switch {
	case d.terminating && !silent:
		w.drop(d)
	case d.terminating, d.phase == corev1.PodFailed, silent:
		return false
	case d.node < 0:
		for i, n := range w.nodes {
			if !w.full && !n.cordoned && !n.silent && !n.gone {
				d.node = i
				return true
			}
		}
		return false
	case d.phase == corev1.PodPending:
		d.phase = corev1.PodRunning
	case !d.up:
		d.up, d.known, d.state = true, true, ServerStarting
	case !d.known:
		d.known, d.granted = true, d.inSession
	case d.state == ServerStarting:
		d.state = ServerFree
	default:
		return false
	}
	return true
}

// offered servers may be granted.
func (w *world) offered(d *device) bool {
	return w.settled && d.known && !d.lost && d.state == ServerFree && !d.held && !d.granted
}

func (w *world) fail(d *device, problem string) {
	d.phase, d.problem, d.retryAt = corev1.PodFailed, problem, w.now.Add(5*time.Second)
	d.up, d.known, d.lost, d.inSession, d.granted = false, false, false, false, false
}

// restart is the death of the operator. Its creates may still arrive; its
// tracker's knowledge is gone.
func (w *world) restart() {
	w.settled, w.knowsHolds = false, false
	for _, d := range w.pods {
		d.known, d.lost, d.granted, d.held = false, false, false, false
	}
}
