package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/test/e2e/image/faults"
)

const faultsName = "faults"

// installFaults puts a pod on every node that may kill its processes.
func (l *lab) installFaults(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testSpace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": privileged},
	}}
	if err := l.api.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	yes := true
	labels := map[string]string{"app": faultsName}
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: testSpace, Name: faultsName},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					HostPID:                       true,
					TerminationGracePeriodSeconds: new(int64),
					Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Containers: []corev1.Container{{
						Name: "main", Image: l.testImage, Args: []string{"faults", "sleep"}, ImagePullPolicy: corev1.PullIfNotPresent,
						SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: new(int64)},
					}},
				},
			},
		},
	}
	err := l.api.Create(ctx, set)
	if apierrors.IsAlreadyExists(err) {
		// A run that was cut short has left it, and the image may be another one by now.
		set.Spec.Template.Annotations = map[string]string{"since": time.Now().Format(time.RFC3339Nano)}
		err = l.api.Update(ctx, set)
	}
	if err != nil {
		return err
	}
	return until(ctx, patience, "the pods that make faults", func(ctx context.Context) error {
		if err := l.api.Get(ctx, client.ObjectKeyFromObject(set), set); err != nil {
			return err
		}
		if set.Status.ObservedGeneration != set.Generation || set.Status.UpdatedNumberScheduled != set.Status.DesiredNumberScheduled {
			return errors.New("not all of them are of this run")
		}
		if n := set.Status.DesiredNumberScheduled; n == 0 || set.Status.NumberReady != n {
			return fmt.Errorf("%d of %d are ready", set.Status.NumberReady, n)
		}
		return nil
	})
}

// target says which process of a container is hit.
type target struct {
	pod, container string
	process        int // its id in the container
}

// first is the id of a container's first process.
const first = 1

// strike sends a signal, and returns when.
func (l *lab) strike(ctx context.Context, namespace string, at target, signal int) (time.Time, error) {
	id, helper, err := l.containerOn(ctx, namespace, at)
	if err != nil {
		return time.Time{}, err
	}
	command := []string{"rpcpool-e2e", "faults", "kill", "--container", id, "--signal", strconv.Itoa(signal)}
	if at.process == first {
		command = append(command, "--init")
	} else {
		pid, err := l.onNode(ctx, helper, id, at.process)
		if err != nil {
			return time.Time{}, err
		}
		command = append(command, "--pid", strconv.Itoa(pid))
	}
	out, err := l.exec(ctx, testSpace, helper, "main", command...)
	if err != nil {
		return time.Time{}, err
	}
	var report faults.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Hits) == 0 {
		return time.Time{}, fmt.Errorf("faults kill wrote %q: %w", out, err)
	}
	return time.Unix(0, report.Hits[0].At), nil
}

// containerOn is the id of a container, and the pod that makes faults on its node. A
// server may serve before the kubelet has told the API server that its containers run.
func (l *lab) containerOn(ctx context.Context, namespace string, at target) (id, helper string, err error) {
	pod := &corev1.Pod{}
	err = until(ctx, patience, "container "+at.container, func(ctx context.Context) error {
		if err := l.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: at.pod}, pod); err != nil {
			return err
		}
		if id = container(pod, at.container).ContainerID; id == "" {
			return fmt.Errorf("pod %s has none that runs", at.pod)
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	helper, err = l.helperOn(ctx, pod.Spec.NodeName)
	return id, helper, err
}

// onNode is the id on its node of a process that has another one in its container.
func (l *lab) onNode(ctx context.Context, helper, id string, inside int) (int, error) {
	out, err := l.exec(ctx, testSpace, helper, "main", "rpcpool-e2e", "faults", "list", "--container", id)
	if err != nil {
		return 0, err
	}
	var trees []faults.Process
	if err := json.Unmarshal([]byte(out), &trees); err != nil {
		return 0, fmt.Errorf("faults list wrote %q: %w", out, err)
	}
	for len(trees) > 0 {
		p := trees[0]
		if p.Inside == inside {
			return p.PID, nil
		}
		trees = append(trees[1:], p.Children...)
	}
	return 0, fmt.Errorf("container %s has no process %d:\n%s", id, inside, out)
}

// helperOn is the pod that makes faults on a node.
func (l *lab) helperOn(ctx context.Context, node string) (string, error) {
	pods := &corev1.PodList{}
	if err := l.api.List(ctx, pods, client.InNamespace(testSpace), client.MatchingLabels{"app": faultsName}); err != nil {
		return "", err
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.Spec.NodeName == node && p.Status.Phase == corev1.PodRunning {
			return p.Name, nil
		}
	}
	return "", fmt.Errorf("nobody makes faults on node %s", node)
}

// hit is strike for tests.
func (s *space) hit(at target, signal int) time.Time {
	s.t.Helper()
	when, err := s.strike(s.t.Context(), s.name, at, signal)
	if err != nil {
		s.t.Fatal(err)
	}
	return when
}
