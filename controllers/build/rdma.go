package build

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"rpcpool.dev/api/v1alpha1"
)

// networksAnnotation attaches secondary networks (the Network Plumbing Working
// Group's convention).
const networksAnnotation = "k8s.v1.cni.cncf.io/networks"

// addRDMA gives the sidecar, which will move the blobs, virtual functions of the
// SR-IOV network device plugin. The plugin brings the nodes in /dev/infiniband
// with them, so there is no host path. Registering memory needs IPC_LOCK, or a
// limit on locked memory that is high enough. A capability that is added to a
// container is in the bounding set of a process that is not root, and of no use
// to it; so the sidecar of such a pool is root, with this one capability. No
// Pod Security level but privileged allows IPC_LOCK.
func addRDMA(rdma *v1alpha1.RDMASpec, pod *corev1.Pod, sidecar *corev1.Container) {
	if rdma == nil || rdma.Mode == v1alpha1.RDMAOff {
		return
	}
	count := *resource.NewQuantity(max(int64(rdma.Count), 1), resource.DecimalSI)
	name := corev1.ResourceName(rdma.ResourceName)
	r := sidecar.Resources.DeepCopy()
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	if r.Limits == nil {
		r.Limits = corev1.ResourceList{}
	}
	r.Requests[name], r.Limits[name] = count, count
	sidecar.Resources = *r

	root, no := int64(0), false
	sidecar.SecurityContext.Capabilities.Add = []corev1.Capability{"IPC_LOCK"}
	sidecar.SecurityContext.RunAsUser, sidecar.SecurityContext.RunAsNonRoot = &root, &no

	networks := slices.DeleteFunc(append([]string{pod.Annotations[networksAnnotation]}, rdma.Networks...),
		func(n string) bool { return n == "" })
	if len(networks) > 0 {
		pod.Annotations[networksAnnotation] = strings.Join(networks, ",")
	}
}
