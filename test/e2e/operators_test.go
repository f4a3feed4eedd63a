package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/test/e2e/image/visit"
)

// TestFaultsOfOperators takes the leader away while one client asks for one server
// after another, and another one holds a session all the time.
func TestFaultsOfOperators(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 2, quick)
	s.awaitFree("dev", 2)
	for _, f := range []struct {
		name   string
		times  int
		target time.Duration
		strike func(leader *corev1.Pod) time.Time
	}{
		{"leading operator killed", 3, 20 * time.Second, func(leader *corev1.Pod) time.Time {
			when, err := s.strike(t.Context(), systemSpace, target{pod: leader.Name, container: "manager", process: first}, sigKill)
			if err != nil {
				t.Fatal(err)
			}
			return when
		}},
		{"leading operator's pod deleted (hand-over)", 3, 3 * time.Second, func(leader *corev1.Pod) time.Time {
			when := time.Now()
			if err := s.api.Delete(t.Context(), leader); err != nil {
				t.Fatal(err)
			}
			return when
		}},
	} {
		r := row{fault: f.name, target: f.target, saw: "waiting clients: their request again; sessions: nothing"}
		for i := range f.times {
			leader := s.freshLeader()
			s.await("dev", "a tracker", listens)
			d := s.withoutLeader(fmt.Sprint(i), func() time.Time { return f.strike(leader) })
			if d > f.target {
				t.Errorf("%s: grants again after %s, want at most %s", f.name, d, f.target)
			}
			r.recovered = append(r.recovered, d)
		}
		s.awaitOperators()
		s.awaitFree("dev", 2)
		the.table.add(r)
		t.Logf("%s: grants again in %s", f.name, span(r.recovered))
	}
}

// freshLeader is the leader's pod, which has never been started again: the kubelet
// makes the next start of one that has wait.
func (s *space) freshLeader() *corev1.Pod {
	s.t.Helper()
	for {
		_, leader := s.awaitOperators()
		if container(leader, "manager").RestartCount == 0 {
			return leader
		}
		s.delete(leader)
	}
}

// withoutLeader takes the leader away, and returns how long nobody was granted
// anything. The session that is held meanwhile has to end in order.
func (s *space) withoutLeader(name string, strike func() time.Time) time.Duration {
	s.t.Helper()
	const longEnough = 40 * time.Second
	holder := s.visitor("holder-"+name, "dev", "--hold", longEnough.String())
	defer holder.stop()
	held := holder.await(0, visit.Working)
	caller := s.visitor("caller-"+name, "dev", "--hold", "0s", "--repeat")
	defer caller.stop()
	caller.await(2, visit.Done)
	struck := strike()
	// A session that began before is no grant of the next leader's.
	var granted visit.Line
	eventually(s.t, patience, "a grant of the next leader", func(ctx context.Context) error {
		lines, err := caller.lines(ctx)
		if err != nil {
			return err
		}
		last := struck
		for _, line := range lines {
			if line.Step != visit.Granted || line.At.Before(struck) {
				continue
			}
			// What the old one has granted in its last moments is followed by a gap.
			if line.At.Sub(last) > 500*time.Millisecond {
				granted = line
				return nil
			}
			last = line.At
		}
		return errors.New("none so far")
	})
	lines := holder.all()
	if end := mustStep(s.t, lines, 0, visit.Done); end.At.Before(granted.At) || end.At.Sub(held.At) < longEnough {
		s.t.Errorf("the session that was held ended at %s: too early to tell", end.At)
	}
	return granted.At.Sub(struck)
}

// awaitOperators waits until every operator is ready, one leads, and nobody ends. It
// returns them, and the one that leads.
func (s *space) awaitOperators() (all []corev1.Pod, leader *corev1.Pod) {
	s.t.Helper()
	eventually(s.t, patience, "the operators", func(ctx context.Context) error {
		pods := &corev1.PodList{}
		if err := s.api.List(ctx, pods, client.InNamespace(systemSpace), client.MatchingLabels{"app.kubernetes.io/component": "operator"}); err != nil {
			return err
		}
		if len(pods.Items) != 2 {
			return fmt.Errorf("%d of them", len(pods.Items))
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.DeletionTimestamp != nil || !container(p, "manager").Ready {
				return fmt.Errorf("%s is not ready", p.Name)
			}
		}
		var err error
		all = pods.Items
		leader, err = s.leader(ctx)
		return err
	})
	return all, leader
}
