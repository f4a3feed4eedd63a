package build

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"rpcpool.dev/api/v1alpha1"
)

// networksAnnotation attaches secondary networks (the Network Plumbing Working
// Group's convention).
const networksAnnotation = "k8s.v1.cni.cncf.io/networks"

// addRDMA gives the sidecar, which moves the blobs, virtual functions: of the
// SR-IOV network device plugin, or by a claim of dynamic resource allocation. Plugin and
// driver bring the nodes in /dev/infiniband with them, so there is no host path. Registering memory needs IPC_LOCK, or a
// limit on locked memory that is high enough. A capability that is added to a
// container is in the bounding set of a process that is not root, and of no use
// to it; so the sidecar of such a pool is root, with this one capability. No
// Pod Security level but privileged allows IPC_LOCK.
//
// It fails for a template whose annotation of networks is not JSON although it
// begins so.
func addRDMA(pool *v1alpha1.RPCPool, pod *corev1.Pod, sidecar *corev1.Container) error {
	rdma := pool.Spec.RDMA
	if !rdma.Wanted() {
		return nil
	}
	if rdma.Claim != nil {
		claimDevices(pool, pod, sidecar)
	} else {
		requestDevices(rdma, sidecar)
	}
	root, no := int64(0), false
	sidecar.SecurityContext.Capabilities.Add = []corev1.Capability{"IPC_LOCK"}
	sidecar.SecurityContext.RunAsUser, sidecar.SecurityContext.RunAsNonRoot = &root, &no
	if len(rdma.Networks) == 0 {
		return nil
	}
	networks, err := addNetworks(pod.Annotations[networksAnnotation], rdma.Networks)
	if err != nil {
		return fmt.Errorf("annotation %s: %w", networksAnnotation, err)
	}
	pod.Annotations[networksAnnotation] = networks
	return nil
}

// requestDevices asks the device plugin for them.
func requestDevices(rdma *v1alpha1.RDMASpec, sidecar *corev1.Container) {
	for _, list := range []*corev1.ResourceList{&sidecar.Resources.Requests, &sidecar.Resources.Limits} {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[corev1.ResourceName(rdma.ResourceName)] = *resource.NewQuantity(int64(rdma.Count), resource.DecimalSI)
	}
}

// rdmaFlags tell the sidecar what it was promised, and where it learns which interface
// was made of which device. Of a claim's devices no resource is known by name.
func rdmaFlags(rdma *v1alpha1.RDMASpec) []string {
	if !rdma.Wanted() {
		return nil
	}
	f := []string{"--rdma-mode", strings.ToLower(string(rdma.Mode)), "--rdma-count", strconv.Itoa(int(rdma.Count))}
	if rdma.Claim == nil {
		f = append(f, "--rdma-resource", rdma.ResourceName)
	}
	return append(f, "--rdma-network-status", podDir+"/"+networkStatus)
}

// packetFlags tell a sidecar that uses its devices the class of their packets.
func packetFlags(rdma *v1alpha1.RDMASpec) (f []string) {
	if !rdma.Wanted() {
		return nil
	}
	if rdma.TrafficClass != nil {
		f = append(f, "--rdma-traffic-class", strconv.Itoa(int(*rdma.TrafficClass)))
	}
	if rdma.ServiceLevel != nil {
		f = append(f, "--rdma-service-level", strconv.Itoa(int(*rdma.ServiceLevel)))
	}
	return f
}

// addNetworks adds networks to those that a template asks for, in the
// template's notation: names with commas between, or a list in JSON.
func addNetworks(present string, names []string) (string, error) {
	present = strings.TrimSpace(present)
	if !strings.HasPrefix(present, "[") {
		if present != "" {
			names = append([]string{present}, names...)
		}
		return strings.Join(names, ","), nil
	}
	var list []any
	if err := json.Unmarshal([]byte(present), &list); err != nil {
		return "", fmt.Errorf("not a list in JSON: %w", err)
	}
	for _, name := range names {
		network := map[string]string{"name": name}
		if namespace, name, found := strings.Cut(name, "/"); found {
			network = map[string]string{"namespace": namespace, "name": name}
		}
		list = append(list, network)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return string(text), nil
}
