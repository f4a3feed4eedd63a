package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"rpcpool.dev/api/v1alpha1"
)

// TestNoTokens: what runs programs of strangers, and what talks to them, has nothing to
// show to the API server. What counts is what is mounted in the container, not what the
// pod says.
func TestNoTokens(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1)
	s.awaitFree("dev", 1)
	p := s.pod("dev-0")
	node, err := s.helperOn(t.Context(), p.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{device, sidecar} {
		out, err := s.exec(t.Context(), testSpace, node, "main", "rpcpool-e2e", "faults", "mounts", "--container", container(p, name).ContainerID)
		if err != nil {
			t.Fatal(err)
		}
		var mounts []string
		if err := json.Unmarshal([]byte(out), &mounts); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		run := false
		for _, at := range mounts {
			run = run || at == "/run/rpcpool"
			if strings.Contains(at, "secrets") || strings.Contains(at, "serviceaccount") {
				t.Errorf("%s has %s", name, at)
			}
		}
		if !run {
			t.Errorf("%s has only %q: that is no container of ours", name, mounts)
		}
	}
}

// TestRDMANeedsPrivileged: a pool that may lock memory is refused where Pod Security
// does not let that be, and says what its namespace lacks.
func TestRDMANeedsPrivileged(t *testing.T) {
	for _, level := range []string{restricted, "baseline"} {
		t.Run(level, func(t *testing.T) {
			s := the.namespace(t, level)
			s.pool("fast", 1, func(p *v1alpha1.RPCPool) { p.Spec.RDMA = &v1alpha1.RDMASpec{ResourceName: "rpcpool.dev/no-vf"} })
			s.pool("plain", 1)
			p := s.await("fast", "a refusal", func(st *v1alpha1.RPCPoolStatus) bool { return progress(st).Reason == v1alpha1.ReasonForbidden })
			message := progress(&p.Status).Message
			for _, words := range []string{`violates PodSecurity "` + level, "IPC_LOCK", "pod-security.kubernetes.io/enforce: privileged"} {
				if !strings.Contains(message, words) {
					t.Errorf("the condition says %q, want it to say %q", message, words)
				}
			}
			s.awaitEvent("fast", v1alpha1.ReasonForbidden, "pod-security.kubernetes.io/enforce: privileged")
			if pods := s.pods("fast"); len(pods) > 0 {
				t.Errorf("there are %d pods", len(pods))
			}
			s.awaitFree("plain", 1)
			// As the message says.
			s.run("label", "--overwrite", "namespace", s.name, "pod-security.kubernetes.io/enforce=privileged")
			s.await("fast", "a pod", func(st *v1alpha1.RPCPoolStatus) bool {
				return is(st.Replicas, 1) && progress(st).Reason == v1alpha1.ReasonUnschedulable
			})
		})
	}
}
