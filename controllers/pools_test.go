package controllers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/tvm"
)

// operator matches the requests of a cluster's operator in the audit log.
func (c *cluster) writes(r kubetest.Request) bool {
	return r.Write() && strings.HasPrefix(r.Agent, userAgent+"/"+c.namespace)
}

func TestAPoolBecomesReady(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 3))
	p := c.awaitFree("cpu", 3)
	if got, want := slices.Sorted(maps.Keys(c.pods())), []string{"cpu-0", "cpu-1", "cpu-2"}; !slices.Equal(got, want) {
		t.Errorf("pods %v, want %v", got, want)
	}
	if want := "rpcpool-tracker." + c.namespace + ".svc:9190"; p.Status.Tracker == nil || p.Status.Tracker.Address != want {
		t.Errorf("tracker %v, want %s", p.Status.Tracker, want)
	}
	if want := "rpcpool.dev/pool=cpu"; p.Status.Selector != want || p.Status.Key != "cpu" {
		t.Errorf("selector %q, want %q; key %q", p.Status.Selector, want, p.Status.Key)
	}
	for _, condition := range p.Status.Conditions {
		if condition.ObservedGeneration != p.Generation {
			t.Errorf("%s is about generation %d, not %d", condition.Type, condition.ObservedGeneration, p.Generation)
		}
	}
	for _, o := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}} {
		if err := c.api.Get(t.Context(), client.ObjectKey{Name: "rpcpool-tracker"}, o); err != nil {
			t.Error(err)
		} else if owners := o.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != p.UID {
			t.Errorf("%T belongs to %v", o, owners)
		}
	}
	if err := c.api.Get(t.Context(), client.ObjectKey{Name: "cpu"}, &policyv1.PodDisruptionBudget{}); err != nil {
		t.Error(err)
	}
	s := c.request("cpu")
	c.await("cpu", "a busy server", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Busy, 1) && is(s.Free, 2) && is(s.ReadyReplicas, 3) })
	s.become(tvm.StateFree)
	c.awaitFree("cpu", 3)
}

func TestAPoolInWhichNothingHappensCostsNoWrite(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 4))
	c.awaitSettled("cpu", 4)
	audit, err := c.server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	// Longer than the regular look at a pool; what is waited for is its absence.
	time.Sleep(12 * time.Second)
	writes, err := audit.Requests(c.writes)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		t.Errorf("%s %s %s", w.Verb, w.Resource, w.Name)
	}
}

func TestSessionsCostNoWriteButTheStatus(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 4))
	c.awaitSettled("cpu", 4)
	audit, err := c.server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 300 {
		c.request("cpu").become(tvm.StateFree)
	}
	c.awaitFree("cpu", 4)
	took := time.Since(began)
	writes, err := audit.Requests(c.writes)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if w.Resource != "rpcpools/status" {
			t.Errorf("%s %s %s", w.Verb, w.Resource, w.Name)
		}
	}
	if most := int(took/time.Second) + 2; len(writes) > most {
		t.Errorf("%d writes in %s, want at most %d", len(writes), took, most)
	}
	t.Logf("300 sessions in %s: %d writes of the status", took, len(writes))
}

func TestAScaleDownTakesFreeServersAndDrainsBusyOnes(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 4))
	c.awaitFree("cpu", 4)
	first, second := c.request("cpu"), c.request("cpu")
	c.await("cpu", "two busy servers", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Busy, 2) })
	replicas := int32(1)
	c.change("cpu", func(s *v1alpha1.RPCPoolSpec) { s.Replicas = &replicas })
	p := c.await("cpu", "the free servers' end", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Replicas, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonWaitingForBusy)
	})
	pods := c.pods()
	for _, s := range []*server{first, second} {
		if _, ok := pods[s.name]; !ok {
			t.Fatalf("%s was in a session and is gone; left are %v", s.name, slices.Sorted(maps.Keys(pods)))
		}
	}
	draining, stays := first, second
	if pods[first.name].Annotations[v1alpha1.AnnotationDraining] == "" {
		draining, stays = second, first
	}
	if text := message(&p.Status, v1alpha1.ConditionProgressing); !strings.Contains(text, draining.name) || !strings.Contains(text, "198.51.100.1:7") {
		t.Errorf("what it waits for is not named: %q", text)
	}
	draining.become(tvm.StateFree)
	c.await("cpu", "the drained server's end", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Replicas, 1) })
	if _, ok := c.pods()[stays.name]; !ok {
		t.Errorf("%s was not to go", stays.name)
	}
	c.eventually("the events", func(ctx context.Context) error {
		events := &eventsv1.EventList{}
		if err := c.api.List(ctx, events); err != nil {
			return err
		}
		told := map[string]int{}
		for i := range events.Items {
			told[events.Items[i].Reason]++
		}
		if told[v1alpha1.ReasonDraining] == 0 || told[v1alpha1.ReasonUpToDate] == 0 {
			return fmt.Errorf("told %v", told)
		}
		return nil
	})
}

func TestARolloutWaitsForSessionsUntilTheirTimeIsUp(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	p := pool("cpu", 2)
	all := intstr.FromString("100%")
	p.Spec.Rollout.MaxUnavailable = &all
	p.Spec.Rollout.DrainTimeout = &metav1.Duration{Duration: 6 * time.Second}
	c.create(p)
	c.awaitFree("cpu", 2)
	busy := c.request("cpu")
	c.await("cpu", "a busy server", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Busy, 1) })
	warm := int32(0)
	before := c.pods()
	c.change("cpu", func(s *v1alpha1.RPCPoolSpec) { s.Server.WarmWorkers = &warm })
	c.await("cpu", "the free server's successor", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.UpdatedReplicas, 1) && is(s.Replicas, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonWaitingForBusy)
	})
	drained := c.pods()[busy.name]
	if drained.UID != before[busy.name].UID {
		t.Fatal("a busy server was replaced")
	}
	since, err := time.Parse(time.RFC3339, drained.Annotations[v1alpha1.AnnotationDraining])
	if err != nil {
		t.Fatal(err)
	}
	c.awaitFree("cpu", 2)
	if after := c.pods()[busy.name]; after.CreationTimestamp.Sub(since) < 6*time.Second {
		t.Errorf("drained since %s, its successor was made at %s", since, after.CreationTimestamp)
	}
}

func TestAFailedPodIsReplaced(t *testing.T) {
	for _, reason := range []string{"UnexpectedAdmissionError", "Evicted", "NodeShutdown"} {
		t.Run(reason, func(t *testing.T) {
			c := start(t, kubetest.KubeletOptions{}, nil)
			c.create(pool("cpu", 2))
			c.awaitFree("cpu", 2)
			failed := c.pods()["cpu-1"]
			c.kubelet.Set(&failed, kubetest.Fate{State: kubetest.Failed, Reason: reason})
			c.eventually("a successor", func(context.Context) error {
				if pod, ok := c.pods()["cpu-1"]; !ok || pod.UID == failed.UID {
					return fmt.Errorf("pod %v", ok)
				}
				return nil
			})
			c.awaitFree("cpu", 2)
		})
	}
}

func TestPodsThatNoNodeHasRoomForHoldTheOthersBack(t *testing.T) {
	room := func(pod *corev1.Pod) kubetest.Fate {
		if pod.Name == "cpu-0" || pod.Name == "cpu-1" {
			return kubetest.Fate{}
		}
		return kubetest.Fate{State: kubetest.Unschedulable, Message: "0/1 nodes are available: 1 Insufficient example.com/board"}
	}
	c := start(t, kubetest.KubeletOptions{Fate: room}, nil)
	c.create(pool("cpu", 500))
	p := c.await("cpu", "the hold", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Free, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonUnschedulable)
	})
	if text := message(&p.Status, v1alpha1.ConditionProgressing); !strings.Contains(text, "Insufficient example.com/board") {
		t.Errorf("the scheduler's words are not told: %q", text)
	}
	if n := len(c.pods()); n > 16 {
		t.Errorf("%d pods were made for 2 devices", n)
	}
}

func TestServersOnACordonedNodeAreNotOffered(t *testing.T) {
	node := "n1-" + t.Name()
	node = strings.ToLower(node)[:20]
	c := start(t, kubetest.KubeletOptions{Nodes: []string{node}}, nil)
	c.create(pool("cpu", 1))
	c.awaitFree("cpu", 1)
	busy := c.request("cpu")
	c.await("cpu", "a busy server", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Busy, 1) })
	admin, err := client.New(c.server.Admin.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cordon := func(yes bool) {
		body := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, yes))
		if err := admin.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, body); err != nil {
			t.Fatal(err)
		}
	}
	evictable := func(want string) {
		c.eventually("evictable="+want, func(context.Context) error {
			if got := c.pods()["cpu-0"].Labels[v1alpha1.LabelEvictable]; got != want {
				return fmt.Errorf("evictable=%s", got)
			}
			return nil
		})
	}
	cordon(true)
	busy.become(tvm.StateFree)
	evictable(v1alpha1.Evictable) // only when the session is over
	c.await("cpu", "a server that is not offered", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Free, 0) && is(s.Busy, 0) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c.pending(ctx, "cpu")
	cordon(false)
	evictable(v1alpha1.NotEvictable)
	c.request("cpu")
}

func TestAPodThatIsDeletedByHandIsWithdrawnAndReplaced(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{TerminationDelay: 3 * time.Second}, nil)
	c.create(pool("cpu", 1))
	c.awaitFree("cpu", 1)
	old := c.pods()["cpu-0"].UID
	deletePod("cpu-0", c)
	p := c.await("cpu", "the wait for its end", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Free, 0) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonWaitingForTermination)
	})
	if text := message(&p.Status, v1alpha1.ConditionProgressing); !strings.Contains(text, "cpu-0") {
		t.Errorf("what it waits for is not named: %q", text)
	}
	c.awaitFree("cpu", 1)
	if c.pods()["cpu-0"].UID == old {
		t.Error("the pod was not replaced")
	}
}

func TestTheOperatorsDeathCostsNothing(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 3))
	c.awaitFree("cpu", 3)
	before := c.pods()
	busy := c.request("cpu")
	c.await("cpu", "a busy server", func(s *v1alpha1.RPCPoolStatus) bool { return is(s.Busy, 1) })
	c.stop()
	c.operate(nil)
	c.eventually("the servers' return", func(ctx context.Context) error {
		conn, err := c.dial(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		summary, err := conn.Summary(ctx)
		if err != nil || len(summary.Servers) != 3 {
			return fmt.Errorf("%d servers: %w", len(summary.Servers), err)
		}
		return nil
	})
	for range 2 {
		if s := c.request("cpu"); s == busy {
			t.Error("a busy server was granted")
		}
	}
	for name, pod := range c.pods() {
		if before[name].UID != pod.UID {
			t.Errorf("%s was replaced", name)
		}
	}
}

func TestANetworkPolicyComesAndGoes(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("cpu", 0))
	policy := &networkingv1.NetworkPolicy{}
	c.change("cpu", func(s *v1alpha1.RPCPoolSpec) { s.NetworkPolicy = &v1alpha1.NetworkPolicySpec{} })
	c.eventually("the policy", func(ctx context.Context) error {
		return c.api.Get(ctx, client.ObjectKey{Name: "cpu"}, policy)
	})
	policy.Spec.PodSelector.MatchLabels = map[string]string{"app": "someone-else"}
	if err := c.api.Update(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	c.eventually("its repair", func(ctx context.Context) error {
		if err := c.api.Get(ctx, client.ObjectKey{Name: "cpu"}, policy); err != nil {
			return err
		}
		if policy.Spec.PodSelector.MatchLabels[v1alpha1.LabelPool] != "cpu" {
			return fmt.Errorf("selector %v", policy.Spec.PodSelector)
		}
		return nil
	})
	c.change("cpu", func(s *v1alpha1.RPCPoolSpec) { s.NetworkPolicy = nil })
	c.eventually("its end", func(ctx context.Context) error {
		err := c.api.Get(ctx, client.ObjectKey{Name: "cpu"}, policy)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

func TestPodsThatTheAPIServerRefusesAreToldOf(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}}
	quota.Spec.Hard = corev1.ResourceList{"count/pods": quantity("2")}
	quota.Status.Hard = quota.Spec.Hard
	c.create(quota)
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"count/pods": quantity("2")}}
	if err := c.api.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	c.create(pool("cpu", 3))
	p := c.await("cpu", "the refusal", func(s *v1alpha1.RPCPoolStatus) bool {
		return holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonForbidden)
	})
	if text := message(&p.Status, v1alpha1.ConditionProgressing); !strings.Contains(text, "exceeded quota: few") {
		t.Errorf("the API server's words are not told: %q", text)
	}
}
