package plan

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"rpcpool.dev/api/v1alpha1"
)

// steps are what happens in the world without the operator: what is ordinary,
// and what is a fault. An ordinary step is drawn three times as often.
var ordinary = map[string]func(*world, *rapid.T){
	"all pods go on": func(w *world, _ *rapid.T) {
		for _, d := range slices.Clone(w.pods) {
			w.advance(d)
		}
	},
	"a pod goes on":    func(w *world, t *rapid.T) { w.some(t, func(d *device) { w.advance(d) }) },
	"a server granted": func(w *world, t *rapid.T) { w.some(t, w.grant) },
	"all servers granted": func(w *world, _ *rapid.T) {
		for _, d := range w.pods {
			w.grant(d)
		}
	},
	"a session ends":   func(w *world, t *rapid.T) { w.some(t, func(d *device) { d.inSession = false }) },
	"its end is known": func(w *world, t *rapid.T) { w.some(t, func(d *device) { d.granted = d.known && d.inSession }) },
	"time passes": func(w *world, t *rapid.T) {
		w.now = w.now.Add(rapid.SampledFrom([]time.Duration{20 * time.Millisecond, time.Second, 12 * time.Second}).Draw(t, "time"))
	},
	"the tracker settles": func(w *world, _ *rapid.T) { w.settled = w.settled || w.knowsHolds },
}

var faults = map[string]func(*world, *rapid.T){
	"a pod fails": func(w *world, t *rapid.T) {
		w.some(t, func(d *device) {
			if !d.terminating {
				w.fail(d, "Evicted")
			}
		})
	},
	"a server is lost or found": func(w *world, t *rapid.T) { w.some(t, func(d *device) { d.lost = d.known && !d.lost }) },
	"a server is quarantined or cured": func(w *world, t *rapid.T) {
		w.some(t, func(d *device) {
			switch {
			case d.state == ServerFree && !d.granted:
				d.state = ServerQuarantined
			case d.state == ServerQuarantined:
				d.state = ServerFree
			}
		})
	},
	"a node is cordoned or not": func(w *world, t *rapid.T) { n := w.node(t); n.cordoned = !n.cordoned },
	"a kubelet is silent or not": func(w *world, t *rapid.T) {
		n := w.node(t)
		n.silent = !n.silent
	},
	"a node comes or goes": func(w *world, t *rapid.T) { n := w.node(t); n.gone = !n.gone },
	"the nodes fill":       func(w *world, _ *rapid.T) { w.full = !w.full },
	"a name is taken":      func(w *world, t *rapid.T) { w.taken = rapid.IntRange(-1, 3).Draw(t, "name") },
	"the replicas change": func(w *world, t *rapid.T) {
		w.pool.Spec.Replicas = number(rapid.IntRange(0, 12).Draw(t, "replicas"))
		w.pool.Generation++
		w.publish()
	},
	"the template changes": func(w *world, t *rapid.T) {
		w.revision = rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "revision")
		w.pool.Generation++
		w.publish()
	},
	"a dead operator's creates arrive": func(w *world, t *rapid.T) {
		for _, z := range w.zombies {
			w.carryOutCreates(t, z.ordinals, z.revision)
		}
		w.zombies = nil
	},
}

var ordinaryNames, faultNames = slices.Sorted(maps.Keys(ordinary)), slices.Sorted(maps.Keys(faults))

func (w *world) some(t *rapid.T, do func(*device)) {
	if len(w.pods) > 0 {
		do(w.pods[rapid.IntRange(0, len(w.pods)-1).Draw(t, "pod")])
	}
}

func (w *world) node(t *rapid.T) *node {
	return &w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]
}

func (w *world) grant(d *device) {
	if w.offered(d) {
		d.granted, d.inSession = true, true
	}
}

func (w *world) happen(t *rapid.T, most int) {
	for range rapid.IntRange(0, most).Draw(t, "events") {
		if rapid.IntRange(0, 3).Draw(t, "a fault if 3") == 3 {
			faults[rapid.SampledFrom(faultNames).Draw(t, "fault")](w, t)
			continue
		}
		ordinary[rapid.SampledFrom(ordinaryNames).Draw(t, "event")](w, t)
	}
}

// reconcile observes, plans and acts, and lets the world go on between these.
func (w *world) reconcile(t *rapid.T) {
	in := w.observe(rapid.IntRange(0, len(w.views)-1).Draw(t, "view of the pool"))
	if len(w.zombies) == 0 {
		w.asked = 0
	}
	w.asked = max(w.asked, int(*in.Pool.Spec.Replicas))
	p := Next(in)
	checkPlan(t, in, p)
	w.happen(t, 2)
	if rapid.IntRange(0, 9).Draw(t, "the operator dies if 9") == 9 {
		w.zombies = append(w.zombies, zombie{p.Create, in.Revision})
		w.restart()
		return
	}
	w.holdAll(p)
	w.happen(t, 1)
	flaky := func() bool { return rapid.IntRange(0, 9).Draw(t, "the write fails if 9") == 9 }
	w.carryOut(t, in, p, flaky)
}

func (w *world) holdAll(p Plan) {
	for _, d := range w.pods {
		d.held = slices.Contains(p.Hold, d.uid)
	}
	w.knowsHolds = true
}

func (w *world) carryOut(t *rapid.T, in Input, p Plan, flaky func() bool) {
	each := func(refs []Ref, do func(*device)) {
		for _, r := range refs {
			if d := w.find(r); d != nil && !flaky() {
				do(d)
			}
		}
	}
	each(p.Undrain, func(d *device) { d.draining = time.Time{} })
	each(p.Drain, func(d *device) { d.draining = in.Now })
	each(p.Evictable, func(d *device) { d.evictable = true })
	each(p.NotEvictable, func(d *device) { d.evictable = false })
	for _, del := range p.Delete {
		if d := w.find(del.Ref); d != nil && !flaky() {
			w.delete(t, in, del, d)
		}
	}
	w.refused = ""
	if !flaky() {
		w.carryOutCreates(t, p.Create, in.Revision)
	}
	if !flaky() {
		w.pool.Status = p.Status
	}
}

// carryOutCreates stops at the first refusal, as the operator does.
func (w *world) carryOutCreates(t *rapid.T, ordinals []int, revision string) {
	for _, o := range ordinals {
		if err := w.make(o, revision); err != nil {
			w.refused = err.Error()
			return
		}
		if len(w.pods) > w.asked {
			t.Fatalf("%d pods exist after a create, and at most %d were asked for", len(w.pods), w.asked)
		}
	}
}

func (w *world) delete(t *rapid.T, in Input, del Deletion, d *device) {
	seen := in.Pods[slices.IndexFunc(in.Pods, func(p Pod) bool { return p.UID == d.uid })]
	ended := seen.Phase == corev1.PodFailed || seen.NodeGone
	since := in.Now.Sub(d.draining)
	unheard := since >= unheardFor && del.Grace == nil && (seen.Server == nil || seen.Server.State == ServerLost)
	if d.inSession && !ended && !unheard &&
		(d.draining.IsZero() || since < in.Pool.Spec.Rollout.DrainTimeout.Duration) {
		t.Fatalf("pod %s is deleted (%s) in a session, %s after its drain began at %s", d.name, del.Reason, since, d.draining)
	}
	if d.terminating || del.Grace != nil && *del.Grace == 0 {
		w.drop(d)
		return
	}
	d.terminating = true
}

// checkPlan checks what must hold of each plan by itself.
func checkPlan(t *rapid.T, in Input, p Plan) {
	byUID := map[types.UID]Pod{}
	serving, active := 0, 0
	for _, pod := range in.Pods {
		byUID[pod.UID] = pod
		if pod.Terminating || pod.NodeGone || pod.Phase == corev1.PodFailed {
			continue
		}
		active++
		if s := pod.Server; s != nil && pod.Draining.IsZero() && (s.State == ServerFree || s.State == ServerBusy) {
			serving++
		}
	}
	replicas := int(*in.Pool.Spec.Replicas)
	if len(p.Create) > 0 && len(in.Pods)+len(p.Create) > replicas {
		t.Fatalf("%d pods exist, %d are made, %d were asked for", len(in.Pods), len(p.Create), replicas)
	}
	withdrawn := 0
	for _, r := range p.Drain {
		if s := byUID[r.UID].Server; s != nil && (s.State == ServerFree || s.State == ServerBusy) {
			withdrawn++
		}
		if !slices.Contains(p.Hold, r.UID) {
			t.Fatalf("%s drains and is offered", r.Name)
		}
	}
	for _, d := range p.Delete {
		if !slices.Contains(p.Hold, d.UID) {
			t.Fatalf("%s is deleted and offered", d.Name)
		}
	}
	limit := (&planning{in: in, replicas: replicas}).maxUnavailable()
	if forRollout := withdrawn - max(0, active-replicas); forRollout > 0 && serving-withdrawn < replicas-limit {
		t.Fatalf("a rollout withdraws %d of %d servers, of %d replicas at most %d may be missing", withdrawn, serving, replicas, limit)
	}
	if !in.Tracker.Settled && len(p.Drain)+len(p.Undrain)+len(p.Evictable) > 0 {
		t.Fatalf("drained before the tracker settled: %+v", p)
	}
	if !p.Wake.IsZero() && p.Wake.Before(in.Now) {
		t.Fatalf("wake is in the past")
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.taken, w.full, w.settled = -1, false, true
	w.views = w.views[len(w.views)-1:]
	clear(w.nodes)
	for _, d := range w.pods {
		d.lost = false
		d.known = d.up
		if d.state == ServerQuarantined {
			d.state = ServerFree
		}
		d.granted = d.inSession
	}
}

// converge reconciles until nothing is left to do. Sessions that are in progress
// go on, so that some drains end by their timeout.
func (w *world) converge(t *rapid.T) {
	never := func() bool { return false }
	w.asked = int(*w.pool.Spec.Replicas)
	for range 1000 {
		in := w.observe(0)
		p := Next(in)
		checkPlan(t, in, p)
		w.holdAll(p)
		w.carryOut(t, in, p, never)
		moved := false
		for _, d := range slices.Clone(w.pods) {
			moved = w.advance(d) || moved
		}
		progress := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionProgressing)
		ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case moved || cmp.Diff(in.seen(p).Pool.Status, in.Pool.Status) != "" || doesAnything(p):
			w.now = w.now.Add(100 * time.Millisecond)
		case !p.Wake.IsZero(): // nothing happens before
			w.now = p.Wake
		case progress.Reason != v1alpha1.ReasonUpToDate || ready.Reason != v1alpha1.ReasonAllServersReady:
			t.Fatalf("nothing goes on, and %s: %s; %s: %s", progress.Reason, progress.Message, ready.Reason, ready.Message)
		default:
			return
		}
	}
	t.Fatalf("no end in sight: %+v", w.pool.Status)
}

func doesAnything(p Plan) bool {
	return len(p.Create)+len(p.Drain)+len(p.Undrain)+len(p.Delete)+len(p.Evictable)+len(p.NotEvictable)+len(p.Events) > 0
}

func TestWhateverHappensNoSessionIsCutNoDeviceIsTakenTwiceAndThePoolGetsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 60).Draw(t, "rounds") {
			w.happen(t, 8)
			w.reconcile(t)
		}
		w.heal()
		w.converge(t)
		if len(w.pods) != int(*w.pool.Spec.Replicas) {
			t.Fatalf("%d pods, %d were asked for", len(w.pods), *w.pool.Spec.Replicas)
		}
		for _, d := range w.pods {
			if d.revision != w.revision || d.terminating || d.phase != corev1.PodRunning {
				t.Fatalf("pod %+v is not as asked for (%s)", d, w.revision)
			}
		}
		for _, later := range []time.Duration{0, time.Millisecond, 24 * time.Hour} {
			w.now = w.now.Add(later)
			in := w.observe(0)
			p := Next(in)
			if diff := cmp.Diff(in.Pool.Status, p.Status); diff != "" || doesAnything(p) || !p.Wake.IsZero() {
				t.Fatalf("a pool at rest is not left alone after %s: %+v\n%s", later, p, diff)
			}
		}
	})
}
