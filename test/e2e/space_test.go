package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
)

var listAll = metav1.ListOptions{}

// Levels of Pod Security.
const (
	restricted = "restricted"
	privileged = "privileged"
)

// space is a test's namespace.
type space struct {
	*lab
	t    *testing.T
	name string
}

// namespace makes a namespace of a level, which is gone when the test has ended:
// that nothing holds it up is part of every test.
func (l *lab) namespace(t *testing.T, level string) *space {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "e2e-" + shortName(t) + "-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": level},
	}}
	if err := l.api.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	s := &space{lab: l, t: t, name: namespace.Name}
	t.Cleanup(func() {
		if t.Failed() {
			s.explain()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := l.do(ctx, l.kubectl, "delete", "namespace", s.name, "--timeout=80s"); err != nil {
			t.Errorf("the namespace does not go away: %v", err)
		}
	})
	return s
}

// in is the namespace for a part of its test.
func (s *space) in(t *testing.T) *space { return &space{lab: s.lab, t: t, name: s.name} }

// listens: a tracker serves the pool.
func listens(st *v1alpha1.RPCPoolStatus) bool {
	return meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionTrackerReady)
}

func shortName(t *testing.T) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), 30)]
}

// explain prints what a person would ask for when a test has failed.
func (s *space) explain() {
	for _, args := range [][]string{
		{"get", "rpcpools,pods", "-o", "wide"},
		{"get", "rpcpools", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status}{'\\n'}{end}"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		out, err := s.do(context.Background(), s.kubectl, append([]string{"--namespace", s.name}, args...)...)
		s.t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	out, err := s.do(context.Background(), s.kubectl, "--namespace", systemSpace, "logs", "--selector", operatorLabels, "--tail=200", "--prefix")
	var trouble []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, `"level":"INFO"`) {
			trouble = append(trouble, line)
		}
	}
	s.t.Logf("operators: %v\n%s", err, strings.Join(trouble, ""))
}

// run runs kubectl in the namespace.
func (s *space) run(args ...string) string {
	s.t.Helper()
	return s.must(s.t, s.kubectl, append([]string{"--namespace", s.name}, args...)...)
}

// applySample applies one of config/samples.
func (s *space) applySample(name string) {
	s.t.Helper()
	s.run("apply", "--filename", filepath.Join("..", "..", "config", "samples", name))
}

// pool makes a pool whose workers offer the functions that misbehave.
func (s *space) pool(name string, replicas int32, changes ...func(*v1alpha1.RPCPool)) {
	s.t.Helper()
	p := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name}}
	p.Spec.Replicas = &replicas
	p.Spec.Server.Command = []string{"rpcpool-worker", "--test-functions"}
	for _, change := range changes {
		change(p)
	}
	if err := s.api.Create(s.t.Context(), p); err != nil {
		s.t.Fatal(err)
	}
}

// change changes a pool's specification.
func (s *space) change(name string, change func(*v1alpha1.RPCPoolSpec)) {
	s.t.Helper()
	eventually(s.t, patience, "the change of pool "+name, func(ctx context.Context) error {
		p := &v1alpha1.RPCPool{}
		if err := s.api.Get(ctx, s.key(name), p); err != nil {
			return err
		}
		change(&p.Spec)
		return s.api.Update(ctx, p)
	})
}

func (s *space) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.name, Name: name}
}

// await waits until a pool's status, of its present specification, is as wanted.
func (s *space) await(pool, what string, ok func(*v1alpha1.RPCPoolStatus) bool) *v1alpha1.RPCPool {
	s.t.Helper()
	p := &v1alpha1.RPCPool{}
	eventually(s.t, patience, what+" of pool "+pool, func(ctx context.Context) error {
		if err := s.api.Get(ctx, s.key(pool), p); err != nil {
			return err
		}
		if p.Status.ObservedGeneration != p.Generation || !ok(&p.Status) {
			text, err := json.Marshal(p.Status)
			return errors.Join(err, fmt.Errorf("status %s", text))
		}
		return nil
	})
	return p
}

func is(n *int32, want int32) bool { return n != nil && *n == want }

// awaitFree waits until a pool has n servers, all free and of its present revision.
func (s *space) awaitFree(pool string, n int32) *v1alpha1.RPCPool {
	s.t.Helper()
	return s.await(pool, fmt.Sprintf("%d free servers", n), func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.Free, n) && is(st.Busy, 0) && is(st.Replicas, n) && is(st.ReadyReplicas, n) && is(st.UpdatedReplicas, n)
	})
}

// pod reads a pod.
func (s *space) pod(name string) *corev1.Pod {
	s.t.Helper()
	p := &corev1.Pod{}
	if err := s.api.Get(s.t.Context(), s.key(name), p); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// awaitPod waits until a pod is as wanted.
func (s *space) awaitPod(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	p := &corev1.Pod{}
	eventually(s.t, patience, what+" of pod "+name, func(ctx context.Context) error {
		if err := s.api.Get(ctx, s.key(name), p); err != nil {
			return err
		}
		if !ok(p) {
			return fmt.Errorf("phase %s, reason %q", p.Status.Phase, p.Status.Reason)
		}
		return nil
	})
	return p
}

// awaitEnd waits until a pod's programs have ended, well or not.
func (s *space) awaitEnd(name string) {
	s.t.Helper()
	s.awaitPod(name, "the end", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// container is the status of a pod's container, a sidecar or not.
func container(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, all := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for _, c := range all {
			if c.Name == name {
				return c
			}
		}
	}
	return corev1.ContainerStatus{}
}

// exec runs a program in a pod's container, and returns what it prints.
func (l *lab) exec(ctx context.Context, namespace, pod, name string, command ...string) (string, error) {
	request := l.core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: name, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(l.config, "POST", request.URL())
	if err != nil {
		return "", err
	}
	var out, complaint bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &complaint}); err != nil {
		return out.String(), fmt.Errorf("in pod %s: %s: %w: %s", pod, strings.Join(command, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// logs is what a pod's container has written.
func (s *space) logs(ctx context.Context, pod, name string) ([]byte, error) {
	stream, err := s.core.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{Container: name}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(stream)
}

// jobPod is a pod that runs a program to its end, as Pod Security's level
// restricted demands.
func (s *space) jobPod(name, image string, args ...string) *corev1.Pod {
	yes, no, user := true, false, int64(65532)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			AutomountServiceAccountToken:  &no,
			TerminationGracePeriodSeconds: new(int64),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "main", Image: image, Args: args, ImagePullPolicy: corev1.PullIfNotPresent,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// delete deletes an object, at once, and waits until it is gone.
func (s *space) delete(o client.Object) {
	s.t.Helper()
	if err := s.api.Delete(s.t.Context(), o, client.GracePeriodSeconds(0)); err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
	s.awaitGone(o)
}

// awaitGone waits until an object is gone; another one may have its name by then.
func (s *space) awaitGone(o client.Object) {
	s.t.Helper()
	key, id := client.ObjectKeyFromObject(o), o.GetUID()
	eventually(s.t, patience, "the end of "+key.Name, func(ctx context.Context) error {
		err := s.api.Get(ctx, key, o)
		if apierrors.IsNotFound(err) || err == nil && id != "" && o.GetUID() != id {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	})
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
