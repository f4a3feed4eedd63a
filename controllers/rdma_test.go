package controllers_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/tvm"
)

// awaitRDMA waits for the condition and returns it.
func (c *cluster) awaitRDMA(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	c.t.Helper()
	p := c.await("npu", "RDMAReady "+reason, func(s *v1alpha1.RPCPoolStatus) bool {
		got := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionRDMAReady)
		return got != nil && got.Status == status && got.Reason == reason && got.Message == message
	})
	return *meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionRDMAReady)
}

// What servers say of their devices is the pool's condition: from nothing to
// devices that work (which sessions do not use), to a link that goes down, with the server
// withdrawn, and back.
func TestWhatServersSayOfTheirDevicesIsACondition(t *testing.T) {
	const up, down = "port 1, GID 3 10.0.0.5 on net1, MTU 4096", "0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"
	const unused = "2 servers can use RDMA, and do not: server.protocol is TVM, whose sessions have nothing that goes by it"
	c := start(t, kubetest.KubeletOptions{}, nil)
	p := pool("npu", 2)
	p.Spec.RDMA = &v1alpha1.RDMASpec{Mode: v1alpha1.RDMARequired, ResourceName: "openshift.io/rdma_vf"}
	c.create(p)
	c.awaitFree("npu", 2)
	c.awaitRDMA(metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, "no server has said yet whether it can use its RDMA devices")

	c.says("npu-0", tvm.StateFree, v1alpha1.ReasonDevicesReady, up)
	c.awaitRDMA(metav1.ConditionUnknown, v1alpha1.ReasonNotChecked, "1 server did not say yet whether RDMA devices can be used: npu-1")
	c.says("npu-1", tvm.StateFree, v1alpha1.ReasonDevicesReady, up)
	ready := c.awaitRDMA(metav1.ConditionFalse, v1alpha1.ReasonNotUsed, unused)

	for range 10 { // which sessions do not touch
		c.request("npu").become(tvm.StateFree)
	}
	c.awaitFree("npu", 2)
	if got := c.awaitRDMA(ready.Status, ready.Reason, ready.Message); !got.LastTransitionTime.Equal(&ready.LastTransitionTime) {
		t.Errorf("sessions changed it: %+v", got)
	}

	c.says("npu-1", tvm.StateQuarantined, v1alpha1.ReasonPortDown, down)
	c.awaitRDMA(metav1.ConditionFalse, v1alpha1.ReasonPortDown, "1 of 2 servers cannot use RDMA: npu-1: PortDown: "+down)
	c.await("npu", "a server that is withdrawn", func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Quarantined, 1) && is(s.Free, 1) && holds(s, v1alpha1.ConditionReady, v1alpha1.ReasonQuarantined)
	})
	c.awaitEvents(v1alpha1.ReasonPortDown)

	c.stop() // the next operator learns it from the servers
	c.says("npu-1", tvm.StateFree, v1alpha1.ReasonDevicesReady, up)
	c.operate(nil)
	c.awaitRDMA(metav1.ConditionFalse, v1alpha1.ReasonNotUsed, unused)
	c.awaitEvents(v1alpha1.ReasonNotUsed)
	pods := c.pods()
	sidecar := pods["npu-0"].Spec.InitContainers[1]
	if devices := sidecar.Resources.Limits["openshift.io/rdma_vf"]; devices.Value() != 1 || !slices.Contains(sidecar.Command, "--rdma-mode") {
		t.Errorf("%s has %s devices, and runs %q", sidecar.Name, &devices, sidecar.Command)
	}
	c.change("npu", func(s *v1alpha1.RPCPoolSpec) { s.RDMA = nil })
	c.await("npu", "a pool without RDMA", func(s *v1alpha1.RPCPoolStatus) bool {
		return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionRDMAReady) == nil
	})
}
