package controllers_test

import (
	"testing"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
)

// TestAPoolOfCallsIsAsReadyAsItsPods: no server registers anywhere, and none is waited
// for.
func TestAPoolOfCallsIsAsReadyAsItsPods(t *testing.T) {
	c := start(t, kubetest.KubeletOptions{}, nil)
	p := pool("text", 3)
	p.Spec.Server.Protocol = v1alpha1.ProtocolRPC
	c.create(p)
	c.awaitFree("text", 3)
	before := c.pods()

	first := before["text-0"]
	c.kubelet.Set(&first, kubetest.Fate{State: kubetest.NotReady})
	c.await("text", "a server that is not ready", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Free, 2) && is(s.Busy, 0) && is(s.ReadyReplicas, 2) && holds(s, v1alpha1.ConditionReady, v1alpha1.ReasonServersMissing)
	})
	fewer := int32(2)
	c.change("text", func(s *v1alpha1.RPCPoolSpec) { s.Replicas = &fewer })
	c.awaitFree("text", 2)
	if after := c.pods(); after["text-1"].UID != before["text-1"].UID || after["text-2"].UID != before["text-2"].UID {
		t.Error("a server that was ready went, and not the one that was not")
	}

	c.change("text", func(s *v1alpha1.RPCPoolSpec) { s.Server.Calls = &v1alpha1.Calls{Workers: 2} })
	c.await("text", "a rollout", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.UpdatedReplicas, 2) && is(s.Free, 2) && is(s.Replicas, 2) && holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonUpToDate)
	})
	for name, pod := range c.pods() {
		if pod.UID == before[name].UID || pod.Annotations[v1alpha1.AnnotationDraining] != "" {
			t.Errorf("%s: the old one, or one that drains", name)
		}
	}
}
