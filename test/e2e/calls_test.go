package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/api/v1alpha1"
)

// called is what a client in a pod prints of a call of the sample's servers, and whether
// it got a result.
func (s *space) called(name string, args ...string) (text string, ok bool) {
	s.t.Helper()
	s.caller(name, args...)
	return s.answer(name)
}

func (s *space) caller(name string, args ...string) {
	s.t.Helper()
	args = append([]string{"call", "--tracker", "rpcpool-tracker." + s.name + ".svc:9190", "--service", "text"}, args...)
	if err := s.api.Create(s.t.Context(), s.jobPod(name, s.image, args...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) answer(name string) (text string, ok bool) {
	s.t.Helper()
	s.awaitEnd(name)
	b, err := s.logs(s.t.Context(), name, "main")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b), s.pod(name).Status.Phase == corev1.PodSucceeded
}

// TestSmokeCalls is a pool of native calls: clients in pods find its servers by name, a
// call that kills its worker costs no container, and one that runs while its pod has to
// go may end.
func TestSmokeCalls(t *testing.T) {
	s := the.namespace(t, restricted)
	s.applySample("rpcpool-calls.yaml")
	s.awaitFree("text", 2)
	attempts := 0
	eventually(t, patience, "clients find the servers", func(context.Context) error {
		attempts++
		text, ok := s.called(fmt.Sprint("format-", attempts), "--all", "snprintf", "80", `"%d servers"`, "2")
		if !ok || strings.Count(text, `"result":"2 servers"`) != 2 {
			return fmt.Errorf("the client says %q", text)
		}
		return nil
	})
	if text, ok := s.called("crash", "crash", `"kill"`); ok || !strings.Contains(text, "Crashed (Indeterminate): worker ended: crash-signal, signal 9") {
		t.Errorf("a call that kills its worker: %q", text)
	}
	if ends := s.sum("text", "rpcpool_rpc_worker_exits_total", "cause"); ends["crash-signal"] != 1 {
		t.Errorf("servers count %v", ends)
	}
	for _, pod := range s.pods("text") {
		for _, c := range append(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses...) {
			if c.RestartCount != 0 {
				t.Errorf("container %s of %s has been started again, though only a worker crashed", c.Name, pod.Name)
			}
		}
	}

	s.caller("long", "--all", "sleep", "6")
	eventually(t, patience, "both servers run a call", func(context.Context) error {
		if workers := s.sum("text", "rpcpool_rpc_workers", "state"); workers["busy"] != 2 {
			return fmt.Errorf("workers %v", workers)
		}
		return nil
	})
	s.scale("text", 1)
	if text, ok := s.answer("long"); !ok || strings.Count(text, `"result":null`) != 2 {
		t.Errorf("calls that ran while a pod had to go: %q", text)
	}
	s.await("text", "one server", func(st *v1alpha1.RPCPoolStatus) bool {
		return st.Replicas != nil && *st.Replicas == 1 && st.Free != nil && *st.Free == 1
	})
}

// TestBlobsBetweenPods: arguments and results that are too long for messages go by blobs
// from a pod to another, and nothing of them stays at the servers.
func TestBlobsBetweenPods(t *testing.T) {
	const size, times = 40 << 20, 8
	s := the.namespace(t, restricted)
	s.applySample("rpcpool-calls.yaml")
	s.awaitFree("text", 2)
	client := s.jobPod("client", s.testImage, "echo", "--tracker", "rpcpool-tracker."+s.name+".svc:9190", "--service", "text",
		"--bytes", strconv.Itoa(size), "--calls", strconv.Itoa(times))
	if err := s.api.Create(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if text, ok := s.answer("client"); !ok || strings.Count(text, `"bytes":`+strconv.Itoa(size)) != times {
		t.Fatalf("the client says %q", text)
	}
	if moved := s.sum("text", "rpcpool_rpc_blob_transfer_bytes_total", "way"); moved["connection"] != 2*size*times {
		t.Errorf("bytes of blobs that servers have moved: %v, want %d", moved, 2*size*times)
	}
	eventually(t, patience, "nobody has blobs", func(context.Context) error {
		if blobs := s.sum("text", "rpcpool_rpc_blobs", "")[""]; blobs != 0 {
			return fmt.Errorf("%v", blobs)
		}
		return nil
	})
}
