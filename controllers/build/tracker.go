package build

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

// TrackerAddress is where the pool's clients and sidecars connect, as HOST:PORT,
// whatever the cluster's domain.
func TrackerAddress(pool *v1alpha1.RPCPool) string {
	t := &pool.Spec.Tracker
	return fmt.Sprintf("%s.%s.svc:%d", t.Name, pool.Namespace, t.Port)
}

// trackerPorts are the ports that a tracker's pools ask for, and their names in
// Service and EndpointSlice. They all lead to the one listener.
func trackerPorts(owners []*v1alpha1.RPCPool) (ports []int32) {
	for _, o := range owners {
		ports = append(ports, withDefaults(o).Spec.Tracker.Port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func trackerPortName(port int32) string { return "tracker-" + strconv.Itoa(int(port)) }

// TrackerService is where clients and sidecars of its owners find a tracker. It
// has no selector: which operator leads is not a matter of labels.
func TrackerService(namespace, name string, owners []*v1alpha1.RPCPool) *corev1.Service {
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: trackerMeta(namespace, name, owners),
	}
	for _, port := range trackerPorts(owners) {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: trackerPortName(port), Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(port),
		})
	}
	return service
}

// TrackerEndpoints points the Service of a tracker at the operator that runs it:
// at address, an IP address, where the tracker listens on listenerPort.
func TrackerEndpoints(namespace, name, address string, listenerPort int32, owners []*v1alpha1.RPCPool) *discoveryv1.EndpointSlice {
	protocol, yes := corev1.ProtocolTCP, true
	kind := discoveryv1.AddressTypeIPv4
	if ip, err := netip.ParseAddr(address); err == nil {
		ip = ip.Unmap() // the API server takes no IPv4 address in IPv6 notation
		address = ip.String()
		if ip.Is6() {
			kind = discoveryv1.AddressTypeIPv6
		}
	}
	slice := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  trackerMeta(namespace, name, owners),
		AddressType: kind,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
	}
	for _, port := range trackerPorts(owners) {
		name := trackerPortName(port)
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &listenerPort})
	}
	slice.Labels[discoveryv1.LabelServiceName] = name
	slice.Labels[discoveryv1.LabelManagedBy] = v1alpha1.Group
	return slice
}

// trackerMeta makes all pools of a tracker its owners: it goes with the last.
func trackerMeta(namespace, name string, owners []*v1alpha1.RPCPool) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
		v1alpha1.LabelTracker:          name,
		"app.kubernetes.io/name":       "rpcpool",
		"app.kubernetes.io/instance":   name,
		"app.kubernetes.io/component":  "tracker",
		"app.kubernetes.io/managed-by": "rpcpool",
	}}
	for _, o := range owners {
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{
			APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind, Name: o.Name, UID: o.UID,
		})
	}
	slices.SortFunc(m.OwnerReferences, func(a, b metav1.OwnerReference) int { return strings.Compare(string(a.UID), string(b.UID)) })
	return m
}
