package controllers

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"rpcpool.dev/api/v1alpha1"
)

// ManagerOptions are what [Setup] needs of its manager; the rest is the caller's.
// namespaces to look at; none: all.
func ManagerOptions(namespaces []string) manager.Options {
	scheme := runtime.NewScheme()
	_ = clientgoscheme.AddToScheme(scheme) // of known types: cannot fail
	_ = v1alpha1.AddToScheme(scheme)
	// A pool's pods are counted before more are made: what has just been made
	// must be among them.
	readOwnWrites := true
	return manager.Options{
		Scheme: scheme,
		Cache:  cacheOptions(namespaces),
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: &readOwnWrites}},
	}
}

// cacheOptions are those of the operator's cache: only our objects, and of them
// only what is read.
func cacheOptions(namespaces []string) cache.Options {
	ofPool, ofTracker := having(v1alpha1.LabelPool), having(v1alpha1.LabelTracker)
	o := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:                   {Label: ofPool, Transform: trimPod},
			&corev1.Node{}:                  {Transform: trimNode},
			&policyv1.PodDisruptionBudget{}: {Label: ofPool},
			&networkingv1.NetworkPolicy{}:   {Label: ofPool},
			&corev1.Service{}:               {Label: ofTracker},
			&discoveryv1.EndpointSlice{}:    {Label: ofTracker},
		},
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = make(map[string]cache.Config, len(namespaces))
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return o
}

// having selects objects that have a label.
func having(label string) labels.Selector {
	r, err := labels.NewRequirement(label, selection.Exists, nil)
	if err != nil {
		return labels.Nothing() // the labels of package v1alpha1 are well-formed
	}
	return labels.NewSelector().Add(*r)
}

// trimPod keeps of a pod what observe reads: of 5,000 pods, the rest would be
// most of the operator's memory.
func trimPod(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil // a tombstone
	}
	kept := &corev1.Pod{TypeMeta: pod.TypeMeta, ObjectMeta: trimMeta(&pod.ObjectMeta)}
	kept.Spec.NodeName = pod.Spec.NodeName
	kept.Status = corev1.PodStatus{
		Phase: pod.Status.Phase, Reason: pod.Status.Reason, Message: pod.Status.Message,
		PodIP: pod.Status.PodIP, PodIPs: pod.Status.PodIPs,
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady || c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			kept.Status.Conditions = append(kept.Status.Conditions,
				corev1.PodCondition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message})
		}
	}
	kept.Status.InitContainerStatuses = trimContainers(pod.Status.InitContainerStatuses)
	kept.Status.ContainerStatuses = trimContainers(pod.Status.ContainerStatuses)
	return kept, nil
}

// trimMeta keeps an object's identity, and those labels and annotations that
// are read.
func trimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: map[string]string{}, OwnerReferences: m.OwnerReferences,
	}
	for _, name := range [...]string{v1alpha1.LabelPool, v1alpha1.LabelRevision, v1alpha1.LabelEvictable} {
		if value, ok := m.Labels[name]; ok {
			kept.Labels[name] = value
		}
	}
	if since, ok := m.Annotations[v1alpha1.AnnotationDraining]; ok {
		kept.Annotations = map[string]string{v1alpha1.AnnotationDraining: since}
	}
	return kept
}

// trimContainers keeps those that wait for something that is worth telling.
func trimContainers(statuses []corev1.ContainerStatus) (kept []corev1.ContainerStatus) {
	for i := range statuses {
		if waiting(&statuses[i]) != "" {
			kept = append(kept, corev1.ContainerStatus{Name: statuses[i].Name, State: statuses[i].State})
		}
	}
	return kept
}

// trimNode keeps of a node whether it takes pods and whether its kubelet lives.
func trimNode(o any) (any, error) {
	node, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	kept := &corev1.Node{TypeMeta: node.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, DeletionTimestamp: node.DeletionTimestamp,
	}}
	kept.Spec.Unschedulable = node.Spec.Unschedulable
	for _, t := range node.Spec.Taints {
		kept.Spec.Taints = append(kept.Spec.Taints, corev1.Taint{Key: t.Key, Effect: t.Effect})
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			kept.Status.Conditions = append(kept.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	return kept, nil
}
