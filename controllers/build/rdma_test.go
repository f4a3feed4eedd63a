package build

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/api/v1alpha1"
	rdma "rpcpool.dev/rpc/rdma/device"
)

// TestTheSidecarHasTheDevicesAndKnowsIt: it, and nobody else in the pod, is
// granted what the manifest asks for, may lock memory, and is told what to look
// for.
func TestTheSidecarHasTheDevicesAndKnowsIt(t *testing.T) {
	for _, c := range []struct {
		mode v1alpha1.RDMAMode
		want rdma.Mode
	}{
		{v1alpha1.RDMAOff, rdma.Off}, {v1alpha1.RDMAAuto, rdma.Auto}, {v1alpha1.RDMARequired, rdma.Required},
		{"", rdma.Auto}, // the default
	} {
		t.Run("mode "+string(c.mode), func(t *testing.T) {
			pool := example(t, "rdma")
			pool.Spec.RDMA.Mode = c.mode
			pod, o := podOf(t, pool), parsed(t, pool)
			on := c.want != rdma.Off
			if o.RDMA.Mode != c.want || on && o.RDMA.Want != (rdma.Want{Resource: "openshift.io/rdma_vf", Count: 2}) {
				t.Errorf("the sidecar makes %+v of it", o.RDMA)
			}
			for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
				for i := range list {
					its := list[i].Name == sidecarName && on
					devices, granted := list[i].Resources.Limits["openshift.io/rdma_vf"]
					if requested := list[i].Resources.Requests["openshift.io/rdma_vf"]; granted != its || !requested.Equal(devices) || its && devices.Value() != 2 {
						t.Errorf("container %s: %s granted, %s requested", list[i].Name, &devices, &requested)
					}
					if locks := mayLock(&list[i]); locks != its {
						t.Errorf("container %s may lock memory: %t", list[i].Name, locks)
					}
				}
			}
			if joined := pod.Annotations[networksAnnotation] != "mgmt"; joined != on {
				t.Errorf("networks %q", pod.Annotations[networksAnnotation])
			}
		})
	}
}

// TestPacketsOfCallsAreInTheirClass: the sidecar of native calls is told the class, and that
// of sessions, which use no device, is not.
func TestPacketsOfCallsAreInTheirClass(t *testing.T) {
	pool := example(t, "calls")
	pool.Spec.RDMA = &v1alpha1.RDMASpec{ResourceName: "openshift.io/rdma_vf", TrafficClass: new(int32(104)), ServiceLevel: new(int32(3))}
	parsedCalls(t, pool)
	command := strings.Join(container(t, podOf(t, pool), sidecarName).Command, " ")
	if want := " --rdma-traffic-class 104 --rdma-service-level 3 "; !strings.Contains(command+" ", want) {
		t.Errorf("%s: want%s", command, want)
	}
	pool = example(t, "rdma")
	pool.Spec.RDMA.TrafficClass, pool.Spec.RDMA.ServiceLevel = new(int32(104)), new(int32(3))
	parsed(t, pool)
}

// mayLock tells whether IPC_LOCK is in effect: it is for root alone.
func mayLock(c *corev1.Container) bool {
	s := c.SecurityContext
	return s != nil && s.Capabilities != nil && slices.Contains(s.Capabilities.Add, "IPC_LOCK") && s.RunAsUser != nil && *s.RunAsUser == 0
}

// TestAClaimInThePlaceOfAResource: the sidecar, and nobody else in the pod, has our
// claim; of the user's template or of one that is ours to make.
func TestAClaimInThePlaceOfAResource(t *testing.T) {
	pool := example(t, "claim")
	made := ClaimTemplate(pool)
	if made == nil || made.Namespace != "tuning" || made.Spec.Spec.Devices.Requests[0].Exactly.Count != 2 || len(made.OwnerReferences) != 1 {
		t.Fatalf("%+v", made)
	}
	claimed := func(template string) {
		t.Helper()
		pod, o := podOf(t, pool), parsed(t, pool)
		if o.RDMA.Mode != rdma.Required || o.RDMA.Want != (rdma.Want{Count: 2}) || o.RDMA.Host.NetworkStatus != "/etc/rpcpool/network-status" {
			t.Errorf("the sidecar makes %+v of it", o.RDMA)
		}
		if c := pod.Spec.ResourceClaims[1]; c.Name != claimName || *c.ResourceClaimTemplateName != template {
			t.Errorf("claim %+v, want template %s", c, template)
		}
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				its := list[i].Name == sidecarName
				if slices.Contains(list[i].Resources.Claims, corev1.ResourceClaim{Name: claimName}) != its || mayLock(&list[i]) != its {
					t.Errorf("container %s has %+v", list[i].Name, list[i].Resources.Claims)
				}
			}
		}
	}
	claimed(made.Name)
	pool.Spec.RDMA.Count = 3
	if again := ClaimTemplate(pool); again.Name == made.Name {
		t.Error("templates cannot be changed, and another has the same name")
	}
	pool.Spec.RDMA = &v1alpha1.RDMASpec{Mode: v1alpha1.RDMARequired, Count: 2, Claim: &v1alpha1.RDMAClaim{TemplateName: "mine"}}
	claimed("mine")
	if made := ClaimTemplate(pool); made != nil {
		t.Errorf("the user's is not ours to make: %+v", made)
	}
	pool.Spec.RDMA.Mode = v1alpha1.RDMAOff
	if name := ClaimTemplateName(pool); name != "" || len(podOf(t, pool).Spec.ResourceClaims) != 1 {
		t.Errorf("off, and there is a claim of %q", name)
	}
}
