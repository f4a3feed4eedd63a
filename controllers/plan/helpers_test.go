package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/api/v1alpha1"
)

// Revisions of the tests' pods.
const current, former = "new", "old"

// start is when the tests' pools are observed; their pods are an hour old.
var start = time.Date(2025, time.March, 1, 12, 0, 0, 0, time.UTC)

// podIs changes a pod.
type podIs func(*Pod)

// aPod is one that has run for an hour and whose server is free.
func aPod(ordinal int, changes ...podIs) Pod {
	p := Pod{
		Name: fmt.Sprintf("rk-%d", ordinal), UID: types.UID(fmt.Sprintf("uid-%d", ordinal)), Ordinal: ordinal,
		Revision: current, Created: start.Add(-time.Hour), Node: "node-a",
		Phase: corev1.PodRunning, Ready: true, Server: &Server{State: ServerFree, Since: start.Add(-time.Minute)},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func pods(n int, changes ...podIs) []Pod {
	var out []Pod
	for i := range n {
		out = append(out, aPod(i, changes...))
	}
	return out
}

func is(s ServerState) podIs { return func(p *Pod) { p.Server.State = s } }

func busy(p *Pod) { p.Server.State, p.Server.Client = ServerBusy, "10.0.0.7:4321" }

func unknown(p *Pod) { p.Server = nil }

func unready(p *Pod) { p.Ready = false }

func pending(p *Pod) { p.Phase, p.Ready, p.Server = corev1.PodPending, false, nil }

func old(p *Pod) { p.Revision = former }

func terminating(p *Pod) { p.Terminating = true }

func cordoned(p *Pod) { p.NodeCordoned = true }

func nodeNotReady(p *Pod) { p.NodeNotReady = true }

func nodeGone(p *Pod) { p.NodeGone = true }

func evictable(p *Pod) { p.Evictable = true }

func unschedulable(p *Pod) {
	pending(p)
	p.Unschedulable, p.Node, p.Problem = true, "", "0/4 nodes are available: 4 Insufficient example.com/npu"
}

func problem(s string) podIs { return func(p *Pod) { p.Problem = s } }

func failed(p *Pod) {
	p.Phase, p.Ready, p.Server, p.Problem = corev1.PodFailed, false, nil, "Evicted"
}

func draining(since time.Duration) podIs {
	return func(p *Pod) { p.Draining = start.Add(-since) }
}

func aged(d time.Duration) podIs { return func(p *Pod) { p.Created = start.Add(-d) } }

func retryIn(d time.Duration) podIs { return func(p *Pod) { p.RetryAt = start.Add(d) } }

// aPool is a settled observation of the pods.
func aPool(replicas int, sets ...[]Pod) Input {
	n := int32(replicas)
	in := Input{
		Now: start, Revision: current,
		Pool: &v1alpha1.RPCPool{
			ObjectMeta: metav1.ObjectMeta{Name: "rk", Namespace: "tuning", Generation: 3},
			Spec:       v1alpha1.RPCPoolSpec{Replicas: &n},
		},
		Tracker: Tracker{Address: "rpcpool-tracker.tuning.svc:9190", Settled: true},
	}
	for _, set := range sets {
		in.Pods = append(in.Pods, set...)
	}
	return in
}

func these(p ...Pod) []Pod { return p }

func (in Input) but(change func(*Input)) Input {
	change(&in)
	return in
}

// seen is the observation after the status of a plan was written.
func (in Input) seen(p Plan) Input {
	in.Pool = in.Pool.DeepCopy()
	in.Pool.Status = p.Status
	return in
}

// names of what a plan does, by the pods' names; a deletion is NAME reason grace.
type names struct {
	Create                                          []int
	Drain, Undrain, Evictable, NotEvictable, Delete []string
}

func namesOf(p Plan) names {
	of := func(refs []Ref) []string {
		var out []string
		for _, r := range refs {
			out = append(out, r.Name)
		}
		return out
	}
	n := names{Create: p.Create, Drain: of(p.Drain), Undrain: of(p.Undrain), Evictable: of(p.Evictable), NotEvictable: of(p.NotEvictable)}
	for _, d := range p.Delete {
		s := d.Name + " " + d.Reason
		if d.Grace != nil {
			s += fmt.Sprintf(" %ds", *d.Grace)
		}
		n.Delete = append(n.Delete, s)
	}
	return n
}

// says is the reason, status and message of a condition.
func says(t *testing.T, p Plan, kind string) string {
	t.Helper()
	c := meta.FindStatusCondition(p.Status.Conditions, kind)
	if c == nil {
		t.Fatalf("there is no condition %s", kind)
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

func told(p Plan) []string {
	var out []string
	for _, e := range p.Events {
		out = append(out, fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, e.Action, e.Message))
	}
	return out
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
