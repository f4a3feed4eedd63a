package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/test/e2e/image/visit"
)

// reinstalled leaves the operator as other tests want it, whatever comes.
func reinstalled(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if err := the.install(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// uninstall takes the operator away, as docs/upgrading.md says, and with it nothing else.
func (s *space) uninstall() {
	s.t.Helper()
	s.run("get", "crd", definition)
	s.must(s.t, s.helm, "uninstall", release, "--namespace", systemSpace, "--wait", "--timeout", "1m")
	eventually(s.t, patience, "the end of the operators", func(ctx context.Context) error {
		pods := &corev1.PodList{}
		err := s.api.List(ctx, pods, client.InNamespace(systemSpace), client.MatchingLabels{"app.kubernetes.io/component": "operator"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	s.run("get", "crd", definition)
}

// TestUninstall: what an operator leaves behind goes on by itself, as far as it can, and
// the next one takes it over as it is.
func TestUninstall(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 2, quick)
	s.awaitFree("dev", 2)
	before := s.pods("dev")
	objects, err := s.contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	const hold = 45 * time.Second
	holder := s.visitor("client-holder", "dev", "--hold", hold.String())
	held := holder.await(0, visit.Working)
	reinstalled(t)
	s.uninstall()
	s.awaitContents(objects...)
	late := s.visitor("client-late", "dev", "--hold", "100ms")
	refused := late.await(0, visit.Refused)
	t.Logf("without an operator, a client is told: %s", refused.Error)

	if err := s.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The client that asks all the time is served without being asked to do anything.
	if end := mustStep(t, late.all(), 0, visit.Done); end.At.Sub(held.At) > hold {
		t.Errorf("nobody is served before the session of the time before ends, at %s", end.At)
	}
	holder.endsInOrder(hold)
	s.awaitFree("dev", 2)
	for _, was := range before {
		is := s.pod(was.Name)
		if is.UID != was.UID {
			t.Errorf("%s has been made anew", was.Name)
		}
		for _, c := range []string{device, sidecar} {
			if n := container(is, c).RestartCount; n > 0 {
				t.Errorf("%s of %s has been started again %d times", c, was.Name, n)
			}
		}
	}
}

// TestDeletionWithoutOperator: nothing that a pool owns needs it to go.
func TestDeletionWithoutOperator(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	reinstalled(t)
	s.uninstall()
	s.run("delete", "rpcpool", "dev", "--timeout=30s")
	s.awaitContents()
}
