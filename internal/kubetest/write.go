package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// write makes a pod's status what its fate is. Like a kubelet it sends a patch
// that is good for this very pod only, and touches nothing but the status.
func (k *Kubelet) write(ctx context.Context, pod *corev1.Pod, l *life, fate Fate) error {
	status := fate.status(pod, k.o.PodIP(pod), metav1.Now())
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("status of %s: %w", pod.Name, err)
	}
	written, err := k.client.Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	l.written = &fate
	if fate.State == Running && k.o.OnRunning != nil {
		k.o.OnRunning(written)
	}
	return nil
}

// makeNodes makes those nodes that do not exist.
func (k *Kubelet) makeNodes(ctx context.Context) error {
	for _, name := range k.o.Nodes {
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}}},
		}
		switch _, err := k.client.Nodes().Create(ctx, node, metav1.CreateOptions{}); {
		case err == nil:
			k.made = append(k.made, name)
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("make node %s: %w", name, err)
		}
	}
	return nil
}

// removeNodes removes those that makeNodes has made, if nobody else has.
func (k *Kubelet) removeNodes() error {
	var errs []error
	for _, name := range k.made {
		err := k.client.Nodes().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove node %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
