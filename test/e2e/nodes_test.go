package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// machines does something to one of the cluster's machines, such as boot n2.
func (s *space) machines(args ...string) time.Time {
	s.t.Helper()
	when := time.Now()
	if err := s.machine(s.t.Context(), args...); err != nil {
		s.t.Fatal(err)
	}
	return when
}

// machine runs a command of hack/cluster's program.
func (l *lab) machine(ctx context.Context, args ...string) error {
	command := append(strings.Fields(l.cluster), args...)
	_, err := l.do(ctx, command[0], command[1:]...)
	return err
}

// spread makes the servers of a pool with a template go to different nodes.
func spread(p *v1alpha1.RPCPool) {
	p.Spec.Template.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"rpcpool.dev/pool": p.Name}},
		}},
	}}
}

// restoreNodes brings every node back, also if the test fails.
func (s *space) restoreNodes() {
	s.t.Cleanup(func() {
		for _, node := range []string{"n1", "n2"} {
			if err := s.machine(context.Background(), "boot", node); err != nil {
				s.t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := s.do(ctx, s.kubectl, "wait", "--for=condition=Ready", "node", "--all", "--timeout=80s"); err != nil {
			s.t.Error(err)
		}
	})
}

// serverOn is the pod of a pool on a node.
func (s *space) serverOn(pool, node string) corev1.Pod {
	s.t.Helper()
	for _, p := range s.pods(pool) {
		if p.Spec.NodeName == node {
			return p
		}
	}
	s.t.Fatalf("pool %s has no server on %s", pool, node)
	return corev1.Pod{}
}

// TestFaultsOfKubelets: sessions do not need one.
func TestFaultsOfKubelets(t *testing.T) {
	needCluster(t)
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	s.restoreNodes()
	s.suffer(fault{
		name: "kubelet killed", survives: true,
		strike: func(s *space, pod string, _ int) time.Time {
			return s.machines("kill", s.pod(pod).Spec.NodeName, "kubelet")
		},
	}, 3)
	if n := container(s.pod("dev-0"), sidecar).RestartCount; n != 0 {
		t.Errorf("the sidecar has been started again %d times", n)
	}
}

// TestFaultsOfNodes cuts the power of a node with a session on it, and returns it.
func TestFaultsOfNodes(t *testing.T) {
	needCluster(t)
	s := the.namespace(t, restricted)
	s.restoreNodes()
	s.pool("dev", 2, quick, s.ownTemplate, spread)
	s.awaitFree("dev", 2)
	s.awaitOperators()
	for _, withLeader := range []bool{false, true} {
		s.powerCut(withLeader)
	}
}

// spreadOperators has an operator on either node, and returns the leader: one that was
// drained may have left both on the same.
func (s *space) spreadOperators() *corev1.Pod {
	s.t.Helper()
	for range 5 {
		all, leader := s.awaitOperators()
		var other *corev1.Pod
		for _, p := range all {
			if p.Name != leader.Name {
				other = &p
			}
		}
		if other.Spec.NodeName != leader.Spec.NodeName {
			return leader
		}
		s.t.Logf("both operators are on %s: one is made anew", leader.Spec.NodeName)
		s.delete(other)
	}
	s.t.Fatal("the operators stay on one node")
	return nil
}

// otherNode is the other one of two.
func otherNode(node string) string { return map[string]string{"n1": "n2", "n2": "n1"}[node] }

func (s *space) powerCut(withLeader bool) {
	s.t.Helper()
	leader := s.spreadOperators()
	victim, name := otherNode(leader.Spec.NodeName), "node without the leader: power cut"
	if withLeader {
		victim, name = leader.Spec.NodeName, "node with the leader: power cut"
	}
	safe := otherNode(victim)
	server := s.serverOn("dev", victim)
	before := container(&server, device).RestartCount
	id := fmt.Sprint(withLeader)
	// Two servers, two sessions: one of them is on the node.
	holders := []*visitor{s.visitorOn(safe, "holder-a-"+id, "dev", "--hold", "10m"), s.visitorOn(safe, "holder-b-"+id, "dev", "--hold", "10m")}
	var lost *visitor
	for _, h := range holders {
		defer h.stop()
		if strings.HasPrefix(h.await(0, visit.Working).Server, server.Status.PodIP+":") {
			lost = h
		}
	}
	if lost == nil {
		s.t.Fatalf("nobody is on %s", victim)
	}
	cut := s.machines("power-cut", victim)
	s.await("dev", "one server less", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.ReadyReplicas, 1) && is(st.Busy, 1) && is(st.Free, 0)
	})
	withdrawn := time.Since(cut)
	end := lost.await(0, visit.Lost)

	boot := s.machines("boot", victim)
	s.await("dev", "two servers", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.ReadyReplicas, 2) })
	back := time.Since(boot)
	s.awaitOperators()
	r := row{
		fault: name, detected: []time.Duration{withdrawn}, recovered: []time.Duration{back}, lost: 1,
		saw: fmt.Sprintf("after %s: %s", short(end.At.Sub(cut)), end.Error),
	}
	the.table.add(r)
	s.t.Logf("%s: withdrawn in %s, offered again %s after it booted; %s", name, short(withdrawn), short(back), r.saw)
	if most := 25 * time.Second; withdrawn > most {
		s.t.Errorf("%s: withdrawn in %s, want at most %s", name, withdrawn, most)
	}
	after := s.pod(server.Name)
	if now := container(after, device).RestartCount; after.UID == server.UID && now <= before {
		s.t.Errorf("the device container has not been started again: %d starts before, %d now", before, now)
	}
	for _, h := range holders {
		if h != lost {
			if lines, err := h.lines(s.t.Context()); err != nil || len(lines) != 3 {
				s.t.Errorf("the session on the other node: %v, %+v", err, lines)
			}
		}
		h.stop()
	}
	s.awaitFree("dev", 2)
}
