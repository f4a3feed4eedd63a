package build

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

// DisruptionBudget forbids the eviction of pods that are not marked as
// evictable; nil: the pool wants none. That mark follows sessions only where a
// node is about to lose its pods, and there the offer has been withdrawn before:
// anywhere else, a session could begin between the mark and the eviction. A pod
// that is not ready may be in a session all the same (the template has probes of
// its own): it is no exception.
//
// All that there are must be available, so that none is to spare. It would not
// do to say that none may be unavailable: Kubernetes counts that from
// spec.replicas, and of a pool that shrinks it would let go as many as are too
// many, in a session or not. So this object, alone of all, follows
// status.replicas. While that is out of date it is mostly too high, which
// forbids no less.
func DisruptionBudget(pool *v1alpha1.RPCPool) *policyv1.PodDisruptionBudget {
	if pool.Spec.DisruptionBudget == v1alpha1.DisruptionBudgetNone {
		return nil
	}
	wanted := int32(1)
	if pool.Spec.Replicas != nil {
		wanted = *pool.Spec.Replicas
	}
	if present := pool.Status.Replicas; present != nil {
		wanted = max(wanted, *present)
	}
	all, unhealthy := intstr.FromInt32(wanted), policyv1.IfHealthyBudget
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: ownedMeta(pool),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable:               &all,
			UnhealthyPodEvictionPolicy: &unhealthy,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{
				v1alpha1.LabelPool: pool.Name, v1alpha1.LabelEvictable: v1alpha1.NotEvictable,
			}},
		},
	}
}

// NetworkPolicy restricts who connects to the pool's pods, to the servers' port
// and to that of the metrics; nil: the pool wants none. Whoever has other ports
// in his template opens them by another policy: they add up.
func NetworkPolicy(pool *v1alpha1.RPCPool) *networkingv1.NetworkPolicy {
	if pool.Spec.NetworkPolicy == nil {
		return nil
	}
	pool = withDefaults(pool)
	wanted := pool.Spec.NetworkPolicy
	clients := wanted.Clients
	if len(clients) == 0 { // all pods of the namespace
		clients = []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: ownedMeta(pool),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelPool: pool.Name}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{from(clients, pool.Spec.Server.Port), from(wanted.Metrics, MetricsPort)},
		},
	}
}

// from lets peers (none: everybody) connect to a port.
func from(peers []networkingv1.NetworkPolicyPeer, port int32) networkingv1.NetworkPolicyIngressRule {
	protocol, number := corev1.ProtocolTCP, intstr.FromInt32(port)
	return networkingv1.NetworkPolicyIngressRule{
		From: peers, Ports: []networkingv1.NetworkPolicyPort{{Protocol: &protocol, Port: &number}},
	}
}

func ownedMeta(pool *v1alpha1.RPCPool) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: pool.Namespace, Name: pool.Name, Labels: poolLabels(pool), OwnerReferences: controlledBy(pool),
	}
}
