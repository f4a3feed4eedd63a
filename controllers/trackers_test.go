package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

func TestPoolsOfOneTrackerShareItEachByItsPort(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	c.create(pool("a", 1))
	c.awaitFree("a", 1)
	b := pool("b", 1)
	b.Spec.Tracker.Port = 9999
	c.create(b)
	p := c.awaitFree("b", 1)
	if want := "rpcpool-tracker." + c.namespace + ".svc:9999"; p.Status.Tracker.Address != want {
		t.Errorf("address %s, want %s", p.Status.Tracker.Address, want)
	}
	service := &corev1.Service{}
	c.eventually("the common service", func(ctx context.Context) error {
		if err := c.api.Get(ctx, client.ObjectKey{Name: "rpcpool-tracker"}, service); err != nil {
			return err
		}
		if len(service.OwnerReferences) != 2 || len(service.Spec.Ports) != 2 || service.Spec.Ports[0].Port != 9190 || service.Spec.Ports[1].Port != 9999 {
			return fmt.Errorf("owners %v, ports %v", service.OwnerReferences, service.Spec.Ports)
		}
		return nil
	})
	c.request("a")
	c.request("b")
}

func TestAServiceOfSomebodyElseIsLeftAlone(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "rpcpool-tracker"}}
	theirs.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	theirs.Spec.Selector = map[string]string{"app": "web"}
	c.create(theirs)
	c.create(pool("cpu", 1))
	c.await("cpu", "the complaint", func(s *v1alpha1.RPCPoolStatus) bool {
		return holds(s, v1alpha1.ConditionTrackerReady, v1alpha1.ReasonNotListening) &&
			strings.Contains(message(s, v1alpha1.ConditionTrackerReady), "somebody else's")
	})
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil || theirs.Spec.Ports[0].Port != 80 || len(theirs.OwnerReferences) > 0 {
		t.Errorf("the service was changed: %v %v", theirs.Spec, err)
	}
}

func TestAPoolsMetricsGoWithIt(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	p := pool("cpu", 2)
	c.create(p)
	c.awaitFree("cpu", 2)
	c.eventually("metrics", func(context.Context) error {
		return testutil.GatherAndCompare(c.registry, strings.NewReader(fmt.Sprintf(`
# HELP rpcpool_pool_desired_servers Servers asked for (spec.replicas), by pool.
# TYPE rpcpool_pool_desired_servers gauge
rpcpool_pool_desired_servers{namespace=%[1]q,pool="cpu"} 2
# HELP rpcpool_pool_pods_created_total Pods made, by pool.
# TYPE rpcpool_pool_pods_created_total counter
rpcpool_pool_pods_created_total{namespace=%[1]q,pool="cpu"} 2
# HELP rpcpool_servers Registered servers, by device key and state: free, busy, draining, quarantined, starting or lost (registered and silent).
# TYPE rpcpool_servers gauge
rpcpool_servers{key="cpu",namespace=%[1]q,state="busy",tracker="rpcpool-tracker"} 0
rpcpool_servers{key="cpu",namespace=%[1]q,state="draining",tracker="rpcpool-tracker"} 0
rpcpool_servers{key="cpu",namespace=%[1]q,state="free",tracker="rpcpool-tracker"} 2
rpcpool_servers{key="cpu",namespace=%[1]q,state="lost",tracker="rpcpool-tracker"} 0
rpcpool_servers{key="cpu",namespace=%[1]q,state="quarantined",tracker="rpcpool-tracker"} 0
rpcpool_servers{key="cpu",namespace=%[1]q,state="starting",tracker="rpcpool-tracker"} 0
`, c.namespace)), "rpcpool_pool_desired_servers", "rpcpool_pool_pods_created_total", "rpcpool_servers")
	})
	if problems, err := testutil.GatherAndLint(c.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if err := c.api.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c.eventually("their end", func(context.Context) error {
		n, err := testutil.GatherAndCount(c.registry, "rpcpool_pool_desired_servers", "rpcpool_pool_servers", "rpcpool_pool_pods_created_total",
			"rpcpool_pool_pods_deleted_total", "rpcpool_servers", "rpcpool_tracker_connections")
		if err != nil || n > 0 {
			return fmt.Errorf("%d series are left: %w", n, err)
		}
		return nil
	})
}

func TestRow060_AddressesThatAreTranslatedAreWarnedOf(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{PodIP: func(*corev1.Pod) string { return "198.51.100.9" }}, nil)
	c.create(pool("cpu", 2))
	c.awaitFree("cpu", 2)
	c.eventually("the warning", func(ctx context.Context) error {
		events := &eventsv1.EventList{}
		if err := c.api.List(ctx, events); err != nil {
			return err
		}
		warnings := 0
		for i := range events.Items {
			if e := &events.Items[i]; e.Reason == v1alpha1.ReasonAddressTranslated && strings.Contains(e.Note, "127.0.0.1") {
				warnings++
			}
		}
		if warnings != 1 {
			return fmt.Errorf("%d warnings", warnings)
		}
		return nil
	})
}

func TestAPolicyOfSomebodyElseIsLeftAlone(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	theirs := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "cpu"}}
	theirs.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	c.create(theirs)
	p := pool("cpu", 1)
	p.Spec.NetworkPolicy = &v1alpha1.NetworkPolicySpec{}
	c.create(p)
	c.eventually("a pod all the same", func(context.Context) error {
		if len(c.pods()) != 1 {
			return fmt.Errorf("%d pods", len(c.pods()))
		}
		return nil
	})
	c.change("cpu", func(s *v1alpha1.RPCPoolSpec) { s.NetworkPolicy = nil })
	c.awaitFree("cpu", 1)
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil || len(theirs.Spec.PolicyTypes) != 2 || len(theirs.OwnerReferences) > 0 {
		t.Errorf("the policy was changed: %+v %v", theirs, err)
	}
}
