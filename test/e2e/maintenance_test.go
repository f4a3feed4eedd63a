package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// twoNodes are nodes on which pods run; a test that needs them is left out where there
// are fewer.
func (s *space) twoNodes() [2]string {
	s.t.Helper()
	nodes := &corev1.NodeList{}
	if err := s.api.List(s.t.Context(), nodes); err != nil {
		s.t.Fatal(err)
	}
	var open []string
	for i := range nodes.Items {
		if n := &nodes.Items[i]; !n.Spec.Unschedulable && len(n.Spec.Taints) == 0 {
			open = append(open, n.Name)
		}
	}
	if len(open) < 2 {
		s.t.Skip("it needs two nodes")
	}
	return [2]string(open[:2])
}

// onlyOn makes the servers of a pool with a template go to these nodes, evenly if that
// can be.
func onlyOn(nodes [2]string) func(*v1alpha1.RPCPool) {
	return func(p *v1alpha1.RPCPool) {
		p.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes[:]}},
			}}},
		}}
		p.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelPool: p.Name}},
		}}
	}
}

// evict asks for a pod's eviction, as a descheduler does.
func (s *space) evict(pod string) error {
	return s.core.PolicyV1().Evictions(s.name).Evict(s.t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: pod}})
}

// isProtected checks that a pod is not evicted.
func (s *space) isProtected(pod, why string) {
	s.t.Helper()
	if err := s.evict(pod); !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "disruption budget") {
		s.t.Errorf("the eviction of %s, %s: %v, want one that the budget refuses", pod, why, err)
	}
}

// uncordoned opens a node again when the test ends, and has the operators, which may all
// have gone to the other one, spread again.
func (s *space) uncordoned(node string) {
	s.t.Cleanup(func() {
		ctx := context.Background()
		for _, args := range [][]string{
			{"uncordon", node},
			{"--namespace", systemSpace, "rollout", "restart", "deployment", release},
			{"--namespace", systemSpace, "rollout", "status", "deployment", release, "--timeout=90s"},
		} {
			if _, err := s.do(ctx, s.kubectl, args...); err != nil {
				s.t.Error(err)
			}
		}
	})
}

// TestMaintenance takes a node out of service while a server on it is busy, as one does.
// An operator may be on it.
func TestMaintenance(t *testing.T) {
	s := the.namespace(t, restricted)
	nodes := s.twoNodes()
	s.pool("dev", 2, quick, s.ownTemplate, onlyOn(nodes))
	s.awaitFree("dev", 2)
	server := s.serverOn("dev", nodes[0])
	node, other := nodes[0], nodes[1]

	s.isProtected(server.Name, "free, on a node that nobody has cordoned")
	s.uncordoned(node)
	cordoned := time.Now()
	s.run("cordon", node)
	s.await("dev", "one offer less", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Free, 1) && is(st.Busy, 0) })
	t.Logf("the offer is withdrawn %s after the cordon, as far as the status tells", short(time.Since(cordoned)))
	s.run("uncordon", node)
	s.await("dev", "both offers", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Free, 2) })

	// Clients are where nobody takes them away.
	const hold = 25 * time.Second
	var holder *visitor
	for _, name := range []string{"one", "two"} {
		v := s.visitorOn(other, name, "dev", "--hold", hold.String())
		if v.server("dev") == server.Name {
			holder = v
		}
	}
	if holder == nil {
		t.Fatalf("nobody is on %s", server.Name)
	}
	s.run("cordon", node)
	drained := make(chan error, 1)
	go func() {
		_, err := s.do(t.Context(), s.kubectl, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
		drained <- err
	}()
	s.isProtected(server.Name, "in a session")
	end := holder.endsInOrder(hold)
	if err := <-drained; err != nil {
		t.Errorf("kubectl drain: %v", err)
	}
	t.Logf("kubectl drain returns %s after the session", short(time.Since(end)))
	s.awaitFree("dev", 2)
	for _, p := range s.pods("dev") {
		if p.Spec.NodeName != other {
			t.Errorf("%s is on %s", p.Name, p.Spec.NodeName)
		}
	}
	if s.pod(server.Name).UID == server.UID {
		t.Errorf("%s has not been replaced", server.Name)
	}
	s.run("uncordon", node)
	again := s.visitor("again", "dev")
	mustStep(t, again.all(), 0, visit.Done)
}

// TestNoBudget: without one, whoever evicts a server ends its session, in order if it
// ends by itself in the time that the pod has.
func TestNoBudget(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick, func(p *v1alpha1.RPCPool) { p.Spec.DisruptionBudget = v1alpha1.DisruptionBudgetNone })
	before := s.awaitFree("dev", 1)
	const hold = 8 * time.Second
	holder := s.holders("dev", hold, "holder")[0]
	was := s.pod("dev-0").UID
	if err := s.evict("dev-0"); err != nil {
		t.Fatal(err)
	}
	holder.endsInOrder(hold)
	eventually(t, patience, "another pod", func(context.Context) error {
		if id := s.ids("dev")["dev-0"]; id == "" || id == was {
			return fmt.Errorf("it is %q still", id)
		}
		return nil
	})
	if after := s.awaitFree("dev", 1); after.Status.Revision != before.Status.Revision {
		t.Errorf("revision %s, it was %s", after.Status.Revision, before.Status.Revision)
	}
}
