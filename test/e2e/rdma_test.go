package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// withVF gives each server of a pool a device.
func withVF(mode v1alpha1.RDMAMode) func(*v1alpha1.RPCPool) {
	return func(p *v1alpha1.RPCPool) { p.Spec.RDMA = &v1alpha1.RDMASpec{Mode: mode, ResourceName: vfResource} }
}

// devices is the pool's condition of that name.
func devices(st *v1alpha1.RPCPoolStatus) metav1.Condition {
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionRDMAReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// awaitDevices waits until pool dev says that of its devices. It is a pool of sessions, so
// that devices which work are NotUsed.
func (s *space) awaitDevices(reason string, words ...string) {
	s.t.Helper()
	s.await("dev", fmt.Sprintf("reason %s, with %q,", reason, words), func(st *v1alpha1.RPCPoolStatus) bool {
		c := devices(st)
		for _, w := range words {
			if !strings.Contains(c.Message, w) {
				return false
			}
		}
		return c.Reason == reason && (c.Status == metav1.ConditionTrue) == (reason == v1alpha1.ReasonDevicesReady)
	})
}

// countsDevices compares the sidecars' metric with what the condition says.
func (s *space) countsDevices(want map[string]float64) {
	s.t.Helper()
	got := s.sum("dev", "rpcpool_rdma_servers", "reason")
	for reason, n := range got {
		if n == 0 {
			delete(got, reason)
		}
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Errorf("the sidecars count %v, want %v", got, want)
	}
}

// awaitFull waits until pool dev has so many free and busy servers, and one that finds
// no node with a device for it.
func (s *space) awaitFull(free, busy int32) {
	s.t.Helper()
	s.await("dev", "a server without a device", func(st *v1alpha1.RPCPoolStatus) bool {
		c := progress(st)
		return is(st.Free, free) && is(st.Busy, busy) && is(st.Replicas, free+busy+1) &&
			c.Reason == v1alpha1.ReasonUnschedulable && strings.Contains(c.Message, "Insufficient "+vfResource)
	})
}

// running are the names of pool dev's pods that have a node.
func (s *space) running() (names []string) {
	s.t.Helper()
	for _, p := range s.pods("dev") {
		if p.Spec.NodeName != "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// goesOn checks that a client still has the session that it began.
func (v *visitor) goesOn() {
	v.s.t.Helper()
	lines, err := v.lines(v.s.t.Context())
	if err != nil || len(lines) == 0 || lines[len(lines)-1].Step != visit.Working {
		v.s.t.Errorf("the session of %s: %v, %+v", v.pod.Name, err, lines)
	}
}

// TestRDMAWithoutHardware: a plugin offers devices that no driver knows of. They get
// where they belong, and what is true of them is said.
func TestRDMAWithoutHardware(t *testing.T) {
	s := the.namespace(t, privileged)
	p := s.devicePlugin(2, false)
	s.pool("dev", 1, quick, withVF(v1alpha1.RDMAAuto))
	s.awaitFree("dev", 1)
	server := s.theOnly("dev").Name
	vf := p.distinct(server)[server]
	s.hasContract(server, vf)
	missing := []string{"1 of 1 server cannot use RDMA", server + ": NoRDMADevice: " + vf + ": this machine has no such PCI device"}
	s.awaitDevices(v1alpha1.ReasonNoRDMADevice, missing...)
	s.awaitEvent("dev", v1alpha1.ReasonNoRDMADevice, missing[1])
	s.countsDevices(map[string]float64{v1alpha1.ReasonNoRDMADevice: 1})
	s.visitor("auto", "dev").endsInOrder(0)

	s.change("dev", func(m manifest) { m.RDMA.Mode = v1alpha1.RDMARequired })
	status := s.await("dev", "a server in quarantine", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.Quarantined, 1) && is(st.Free, 0) && is(st.UpdatedReplicas, 1) && is(st.Replicas, 1)
	}).Status
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if want := "RDMA is required: NoRDMADevice: "; ready.Reason != v1alpha1.ReasonQuarantined || !strings.Contains(ready.Message, want) {
		t.Errorf("the pool says %s: %s, want %s and %q", ready.Reason, ready.Message, v1alpha1.ReasonQuarantined, want)
	}
	s.awaitDevices(v1alpha1.ReasonNoRDMADevice)
	patient := s.visitor("required", "dev")
	s.await("dev", "a client that waits", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.PendingRequests, 1) })
	s.change("dev", func(m manifest) { m.RDMA.Mode = v1alpha1.RDMAAuto })
	patient.endsInOrder(0)
	s.awaitFree("dev", 1)
	p.distinct(s.theOnly("dev").Name)
}

// hasContract: a server's sidecar has got a device in the words of the SR-IOV network
// device plugin, and its device container has not.
func (s *space) hasContract(server, vf string) {
	s.t.Helper()
	if got := s.devicesIn(server, device); len(got) > 0 {
		s.t.Errorf("the device container has %v", got)
	}
	got := s.devicesIn(server, sidecar)
	var info map[string]map[string]map[string]string
	if err := json.Unmarshal([]byte(got[vfVariable+"_INFO"]), &info); err != nil {
		s.t.Errorf("%v: %v", err, got)
	}
	number := vf[len(vf)-1:]
	want := map[string]map[string]map[string]string{vf: {
		"generic": {"deviceID": vf},
		"rdma": {
			"rdma_dev": "mlx5_" + number, "rdma_cm": "/dev/infiniband/rdma_cm", "uverbs": "/dev/infiniband/uverbs" + number,
			"umad": "/dev/infiniband/umad" + number, "issm": "/dev/infiniband/issm" + number,
		},
	}}
	if len(got) != 2 || got[vfVariable] != vf || !reflect.DeepEqual(info, want) {
		s.t.Errorf("the sidecar has %v, want %s and %v", got, vf, want)
	}
	pod := s.pod(server)
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		q := c.Resources.Limits[vfResource]
		if n := q.Value(); (n == 1) != (c.Name == sidecar) || n > 1 {
			s.t.Errorf("container %s asks for %d devices", c.Name, n)
		}
	}
}

// TestRDMAPort: a server that is to have RDMA is offered while the port of its device is
// up with the pod's address, and no session ends because it goes down.
func TestRDMAPort(t *testing.T) {
	s := the.namespace(t, privileged)
	p := s.devicePlugin(1, true)
	s.pool("dev", 1, quick, withVF(v1alpha1.RDMARequired))
	s.awaitDevices(v1alpha1.ReasonNoGID, p.vfs[0]+" (mlx5_0): port 1 has no RoCE v2 GID that is one of the pod's addresses: ")
	s.await("dev", "a quarantine", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Quarantined, 1) && is(st.Free, 0) })
	server := s.theOnly("dev")

	p.setPort(server.Name, "active")
	s.awaitFree("dev", 1)
	s.awaitDevices(v1alpha1.ReasonNotUsed, "1 server can use RDMA")
	s.awaitEvent("dev", v1alpha1.ReasonNotUsed, "1 server can use RDMA")
	s.countsDevices(map[string]float64{v1alpha1.ReasonDevicesReady: 1})
	said := fmt.Sprintf("%s (mlx5_0): port 1, GID 3 %s on ens1f0v0, MTU 4096", p.vfs[0], server.Status.PodIP)
	if text, err := s.logs(t.Context(), server.Name, sidecar); err != nil || !bytes.Contains(text, []byte(said)) {
		t.Errorf("%v, the sidecar says\n%s, want %q", err, text, said)
	}

	s.attached(server, p.vfs[0], "203.0.113.9")
	s.awaitDevices(v1alpha1.ReasonNoGID, "port 1 has no RoCE v2 GID that is an address of fabric/rails on net1: 203.0.113.9")
	s.attached(server, p.vfs[0], server.Status.PodIP)
	s.awaitDevices(v1alpha1.ReasonNotUsed, "1 server can use RDMA")
	s.awaitFree("dev", 1)

	const hold = 20 * time.Second
	client := s.holders("dev", hold, "holder")[0]
	p.setPort(server.Name, "down")
	s.awaitDevices(v1alpha1.ReasonPortDown, server.Name+": PortDown: "+p.vfs[0]+" (mlx5_0): port 1 is DOWN, not ACTIVE")
	s.awaitEvent("dev", v1alpha1.ReasonPortDown, p.vfs[0])
	s.countsDevices(map[string]float64{v1alpha1.ReasonPortDown: 1})
	s.await("dev", "a session that goes on", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Busy, 1) })
	client.endsInOrder(hold)
	s.await("dev", "a quarantine", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.Quarantined, 1) && is(st.Busy, 0) && is(st.Free, 0)
	})

	p.setPort(server.Name, "active")
	s.awaitFree("dev", 1)
	s.awaitDevices(v1alpha1.ReasonNotUsed)
	s.visitor("next", "dev").endsInOrder(0)
	if now := s.theOnly("dev"); now.UID != server.UID {
		t.Errorf("the pod is another one now")
	}
}

// attached writes what a CNI plugin would: that an interface with that address was made of
// a device. It is what the sidecar believes of it.
func (s *space) attached(pod *corev1.Pod, vf, ip string) {
	s.t.Helper()
	status := fmt.Sprintf(`[{"name":"fabric/rails","interface":"net1","ips":[%q],"device-info":{"type":"pci","pci":{"pci-address":%q}}}]`, ip, vf)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"k8s.v1.cni.cncf.io/network-status": status}}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.api.Patch(s.t.Context(), pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		s.t.Fatal(err)
	}
}

// TestRDMAClaim: a pool waits for a template that is not there, its pod for a class that
// nobody offers, and both are said.
func TestRDMAClaim(t *testing.T) {
	s := the.namespace(t, privileged)
	s.pool("dev", 1, quick, func(p *v1alpha1.RPCPool) {
		p.Spec.RDMA = &v1alpha1.RDMASpec{Claim: &v1alpha1.RDMAClaim{TemplateName: "mine"}}
	})
	s.await("dev", "that there is no template", func(st *v1alpha1.RPCPoolStatus) bool {
		c := progress(st)
		return is(st.Replicas, 0) && c.Reason == v1alpha1.ReasonForbidden && strings.Contains(c.Message, "there is no ResourceClaimTemplate mine")
	})
	s.change("dev", func(m manifest) { m.RDMA.Claim = &v1alpha1.RDMAClaim{DeviceClassName: "nobody.rpcpool.dev"} })
	s.await("dev", "that there is no such class", func(st *v1alpha1.RPCPoolStatus) bool {
		c := progress(st)
		return is(st.Replicas, 1) && c.Reason == v1alpha1.ReasonUnschedulable && strings.Contains(c.Message, "nobody.rpcpool.dev")
	})
}

// TestRDMAHealth: there are fewer devices than servers, and then one less because it is
// ill. Who has one keeps it, who has none waits.
func TestRDMAHealth(t *testing.T) {
	s := the.namespace(t, privileged)
	p := s.devicePlugin(2, true)
	s.pool("dev", 3, quick, withVF(v1alpha1.RDMAAuto))
	s.awaitFull(2, 0)
	had := p.distinct(s.running()...)
	for pod := range had {
		p.setPort(pod, "active")
	}
	s.awaitDevices(v1alpha1.ReasonNotUsed, "2 servers can use RDMA")
	s.visitor("first", "dev").endsInOrder(0)
	s.scale("dev", 2)
	s.awaitFree("dev", 2)
	before := s.ids("dev")

	client := s.holders("dev", 10*time.Minute, "holder")[0]
	ill := client.server("dev")
	p.setHealth(had[ill], "unhealthy")
	p.awaitOffer(1)
	// What the plugin thinks of a device is not what its server sees of it, which goes on.
	s.awaitDevices(v1alpha1.ReasonNotUsed, "2 servers can use RDMA")
	client.goesOn()
	if now := s.ids("dev"); !reflect.DeepEqual(now, before) {
		t.Errorf("pods were %v, and are %v", before, now)
	}

	client.stop()
	s.delete(s.pod(ill))
	s.awaitFull(1, 0)
	s.visitor("second", "dev").endsInOrder(0)
	p.setHealth(had[ill], "healthy")
	p.awaitOffer(2)
	s.awaitFree("dev", 2)
	if now := p.distinct(s.running()...); len(now) != 2 {
		t.Errorf("servers have %v, want all devices", now)
	}
}

// TestRDMAPluginRestart: nobody who has a device needs the plugin, and whoever is new
// gets one that is free, also from a kubelet that has forgotten everything.
func TestRDMAPluginRestart(t *testing.T) {
	s := the.namespace(t, privileged)
	p := s.devicePlugin(2, true)
	s.pool("dev", 1, quick, withVF(v1alpha1.RDMARequired))
	s.awaitDevices(v1alpha1.ReasonNoGID)
	server := s.theOnly("dev")
	p.setPort(server.Name, "active")
	s.awaitFree("dev", 1)
	had := p.vf(server.Name)
	client := s.holders("dev", 10*time.Minute, "holder")[0]
	undisturbed := func(s *space) {
		s.t.Helper()
		client.goesOn()
		if now := s.pod(server.Name); now.UID != server.UID || container(now, device).RestartCount > 0 {
			s.t.Errorf("the server is another one now: %+v", now.Status)
		}
	}

	if err := p.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.awaitOffer(0)
	undisturbed(s)
	s.awaitDevices(v1alpha1.ReasonNotUsed)
	// Its next container gets what the pod has.
	s.hit(target{pod: server.Name, container: sidecar, process: first}, sigKill)
	s.awaitPod(server.Name, "another sidecar", func(pod *corev1.Pod) bool {
		c := container(pod, sidecar)
		return c.RestartCount == 1 && c.State.Running != nil && c.Ready
	})
	s.hasContract(server.Name, had)
	s.awaitDevices(v1alpha1.ReasonNotUsed)
	undisturbed(s)
	s.scale("dev", 2)
	s.awaitFull(0, 1)

	p.start()
	p.awaitOffer(2)
	other := p.awaitSecond(server.Name)
	undisturbed(s)

	for _, restart := range []struct {
		name string
		do   func(*plugin)
	}{
		{"plugin killed", func(p *plugin) {
			p.hit(target{pod: p.job, container: "main", process: first}, sigKill)
			p.awaitRegisteredAnew(1)
		}},
		{"kubelet killed", func(p *plugin) {
			needCluster(p.t)
			p.restoreNodes()
			p.machines("kill", p.node, "kubelet")
			p.awaitRegistered(2)
		}},
	} {
		t.Run(restart.name, func(t *testing.T) {
			p := *p
			p.space = s.in(t)
			restart.do(&p)
			p.awaitOffer(2)
			undisturbed(p.space)
			p.delete(p.pod(other))
			other = p.awaitSecond(server.Name)
			undisturbed(p.space)
		})
	}
	client.stop()
	s.awaitFree("dev", 2)
}

// awaitSecond waits until a server beside the first one has got a device, and makes that
// one work. It returns the server's name.
func (p *plugin) awaitSecond(one string) (other string) {
	p.t.Helper()
	other = p.awaitAnother(one)
	p.distinct(one, other)
	p.setPort(other, "active")
	p.awaitBusyAndFree()
	return other
}

// awaitAnother waits until a server beside the first one runs.
func (h *hardware) awaitAnother(one string) (other string) {
	h.t.Helper()
	eventually(h.t, patience, "a second server with a device", func(context.Context) error {
		for _, pod := range h.pods("dev") {
			if pod.Name != one && pod.DeletionTimestamp == nil && container(&pod, sidecar).State.Running != nil {
				other = pod.Name
				return nil
			}
		}
		return errors.New("there is none")
	})
	if h.pod(one).Spec.NodeName != h.pod(other).Spec.NodeName {
		h.t.Errorf("only node %s has devices", h.node)
	}
	return other
}

// awaitBusyAndFree waits until both of two servers can use RDMA.
func (h *hardware) awaitBusyAndFree() {
	h.t.Helper()
	h.await("dev", "two servers, one of them free", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.Free, 1) && is(st.Busy, 1) && is(st.Replicas, 2) && devices(st).Reason == v1alpha1.ReasonNotUsed
	})
}
