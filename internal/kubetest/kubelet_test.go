package kubetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/internal/kubetest"
)

// patience is for what takes a second on an idle machine.
const patience = time.Minute

// podSpec is that of a device pod: an init container, a native sidecar, and a
// device.
func podSpec() corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: "agent", Image: "ours"},
			{Name: "sidecar", Image: "ours", RestartPolicy: &always},
		},
		Containers: []corev1.Container{{Name: "device", Image: "theirs"}},
	}
}

func newPod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "a"}}, Spec: podSpec()}
}

// until waits until a pod is as ok says.
func until(t *testing.T, c client.Client, pod *corev1.Pod, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	now := &corev1.Pod{}
	kubetest.Eventually(t, patience, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), now); err != nil {
			return err
		}
		if !ok(now) {
			return fmt.Errorf("status %+v", now.Status)
		}
		return nil
	})
	return now
}

// gone waits until a pod does not exist any more.
func gone(t *testing.T, c client.Client, pod *corev1.Pod) {
	t.Helper()
	kubetest.Eventually(t, patience, func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it still exists"))
	})
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func running(pod *corev1.Pod) bool { return ready(pod) && pod.Status.Phase == corev1.PodRunning }

// diary notes what a kubelet's hooks were told.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(what string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lines = append(d.lines, what+" "+pod.Name+" "+pod.Status.PodIP)
	}
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

func TestAPodLivesAndDiesByThreeRequests(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	var d diary
	kubelet := server.Kubelet(t, kubetest.KubeletOptions{
		Namespace: namespace, Selector: "app=a", Nodes: []string{"rack-1"},
		PodIP:     func(*corev1.Pod) string { return "127.0.0.9" },
		OnRunning: d.note("running"), OnDeleting: d.note("deleting"),
	})
	audit, err := server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	c := as(t, server.Admin.Config, "test")
	other := newPod(namespace, "other")
	other.Labels = nil
	pod := newPod(namespace, "pod")
	for _, p := range []*corev1.Pod{other, pod} {
		if err := c.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	now := until(t, c, pod, running)
	if now.Spec.NodeName != "rack-1" || now.Status.PodIP != "127.0.0.9" {
		t.Errorf("on node %s with address %s", now.Spec.NodeName, now.Status.PodIP)
	}
	if agent, sidecar := now.Status.InitContainerStatuses[0], now.Status.InitContainerStatuses[1]; agent.State.Terminated == nil || sidecar.State.Running == nil || !*sidecar.Started {
		t.Errorf("init containers %+v", now.Status.InitContainerStatuses)
	}
	if err := c.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	gone(t, c, pod)
	if got := d.String(); got != "running pod 127.0.0.9, deleting pod 127.0.0.9" {
		t.Errorf("hooks were told: %s", got)
	}
	requests, err := audit.Requests(func(r kubetest.Request) bool { return r.Agent == kubetest.KubeletAgent && r.Write() })
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 3 || kubelet.Requests() < 3 {
		t.Errorf("%d writes %+v; %d requests", len(requests), requests, kubelet.Requests())
	}
	until(t, c, other, func(p *corev1.Pod) bool { return p.Spec.NodeName == "" })
}

func TestAPodBecomesWhatTheTestSays(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	kubelet := server.Kubelet(t, kubetest.KubeletOptions{Namespace: namespace})
	c := as(t, server.Admin.Config, "test")
	waiting := func(pod *corev1.Pod, reason string) bool {
		for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if s.State.Waiting != nil && s.State.Waiting.Reason == reason {
				return true
			}
		}
		return false
	}
	for name, c1 := range map[string]struct {
		fate kubetest.Fate
		is   func(*corev1.Pod) bool
	}{
		"not ready": {kubetest.Fate{State: kubetest.NotReady}, func(p *corev1.Pod) bool {
			return !ready(p) && p.Status.Phase == corev1.PodRunning && p.Status.ContainerStatuses[0].State.Running != nil
		}},
		"in a crash loop": {kubetest.Fate{State: kubetest.CrashLoopBackOff, Restarts: 7}, func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses[0]
			return !ready(p) && p.Status.Phase == corev1.PodRunning && waiting(p, "CrashLoopBackOff") && s.RestartCount == 7 && s.LastTerminationState.Terminated.ExitCode == 1
		}},
		"without an image": {kubetest.Fate{State: kubetest.ImagePullBackOff}, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodPending && waiting(p, "ImagePullBackOff")
		}},
		"stuck before the sidecar runs": {kubetest.Fate{State: kubetest.Starting, Container: "sidecar"}, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodPending && waiting(p, "ContainerCreating") && waiting(p, "PodInitializing")
		}},
		"evicted": {kubetest.Fate{State: kubetest.Failed, Reason: "Evicted", Message: "low on memory"}, func(p *corev1.Pod) bool {
			return !ready(p) && p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" && p.Status.Message == "low on memory"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(namespace, strings.ReplaceAll(name, " ", "-"))
			if err := c.Create(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			until(t, c, pod, running)
			kubelet.Set(pod, c1.fate)
			until(t, c, pod, c1.is)
			kubelet.Set(pod, kubetest.Fate{})
			if c1.fate.State != kubetest.Failed {
				until(t, c, pod, running)
			}
		})
	}
}

func TestAPodThatHasNoNodeWaitsUntilOneHasRoom(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	var mu sync.Mutex
	full := true
	kubelet := server.Kubelet(t, kubetest.KubeletOptions{Namespace: namespace, Fate: func(*corev1.Pod) kubetest.Fate {
		mu.Lock()
		defer mu.Unlock()
		if full {
			return kubetest.Fate{State: kubetest.Unschedulable, Message: "1 Insufficient device"}
		}
		return kubetest.Fate{}
	}})
	c := as(t, server.Admin.Config, "test")
	pod := newPod(namespace, "pod")
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	until(t, c, pod, func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Reason == corev1.PodReasonUnschedulable && c.Message == "1 Insufficient device" {
				return p.Spec.NodeName == "" && p.Status.Phase == corev1.PodPending
			}
		}
		return false
	})
	mu.Lock()
	full = false
	mu.Unlock()
	kubelet.Resync()
	until(t, c, pod, running)
}

func TestADeletedPodTakesItsTimeUnlessItsNodeIsDead(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	var d diary
	kubelet := server.Kubelet(t, kubetest.KubeletOptions{
		Namespace: namespace, TerminationDelay: time.Hour, OnDeleting: d.note("deleting"),
	})
	c := as(t, server.Admin.Config, "test")
	slow, dead, quick := newPod(namespace, "slow"), newPod(namespace, "dead"), newPod(namespace, "quick")
	for _, pod := range []*corev1.Pod{slow, dead, quick} {
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		until(t, c, pod, running)
	}
	kubelet.Set(dead, kubetest.Fate{State: kubetest.Silent})
	for pod, grace := range map[*corev1.Pod]int64{slow: 3600, dead: 1, quick: 1} {
		if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(grace)); err != nil {
			t.Fatal(err)
		}
	}
	gone(t, c, quick)
	for _, pod := range []*corev1.Pod{slow, dead} {
		until(t, c, pod, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if err := c.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
		gone(t, c, pod)
	}
	kubetest.Eventually(t, patience, func(context.Context) error {
		for _, name := range []string{"slow", "quick", "dead"} {
			if n := strings.Count(d.String(), "deleting "+name); n != 1 {
				return fmt.Errorf("told of %s %d times: %s", name, n, d.String())
			}
		}
		return nil
	})
}

func TestADeploymentComesUpAndGoesWithItsNamespace(t *testing.T) {
	server := suite.Server(t)
	ctx := t.Context()
	namespace, err := server.CreateNamespace(ctx, "deployment")
	if err != nil {
		t.Fatal(err)
	}
	server.Kubelet(t, kubetest.KubeletOptions{Namespace: namespace})
	audit, err := server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	server.ControllerManager(t, kubetest.ControllerManagerOptions{QPS: 200})
	c := as(t, server.Admin.Config, "test")
	const replicas = 10
	size, labels := int32(replicas), map[string]string{"app": "a"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "d"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &size, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
	if err := c.Create(ctx, d); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, patience, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil || d.Status.ReadyReplicas == replicas {
			return err
		}
		return fmt.Errorf("status %+v", d.Status)
	})
	creates, err := audit.Requests(func(r kubetest.Request) bool {
		return strings.HasPrefix(r.Agent, kubetest.ControllerManagerAgent) && strings.HasSuffix(r.Agent, "/replicaset-controller") &&
			r.Namespace == namespace && r.Resource == "pods" && r.Verb == "create"
	})
	if err != nil || len(creates) != replicas {
		t.Errorf("%d pods were made by the controller of ReplicaSets, %v", len(creates), err)
	}
	if err := c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, 2*patience, func(ctx context.Context) error {
		err := c.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("the namespace still exists"))
	})
}

func TestAThousandPodsAreReadyInSeconds(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	const pods = 1000
	var mu sync.Mutex
	seen, all := 0, make(chan struct{})
	kubelet := server.Kubelet(t, kubetest.KubeletOptions{Namespace: namespace, OnRunning: func(*corev1.Pod) {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == pods {
			close(all)
		}
	}})
	c := as(t, server.Admin.Config, "test")
	began := time.Now()
	var creators sync.WaitGroup
	const parallel = 10
	for i := range parallel {
		creators.Go(func() {
			for j := range pods / parallel {
				if err := c.Create(t.Context(), newPod(namespace, fmt.Sprintf("pod-%d-%d", i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	creators.Wait()
	select {
	case <-all:
	case <-time.After(patience):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%d pods run", seen)
	}
	t.Logf("%d pods in %s, %d requests of the kubelet", pods, time.Since(began).Round(time.Millisecond), kubelet.Requests())
	// A tenth for status writes that lost a race with their own echo; a kubelet
	// that looked before it wrote would need half as many again.
	if n := kubelet.Requests(); n > 2*pods+pods/10 {
		t.Errorf("%d requests for %d pods", n, pods)
	}
}
