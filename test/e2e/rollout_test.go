package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// ownTemplate makes a pool with a template: the device container of the default one,
// as Pod Security's level restricted demands.
func (s *space) ownTemplate(p *v1alpha1.RPCPool) {
	like := s.jobPod("", s.image).Spec
	p.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{SecurityContext: like.SecurityContext, Containers: like.Containers}}
	p.Spec.Template.Spec.Containers[0].Name = device
}

// deviceIn is the device container of a pod's specification.
func deviceIn(spec *corev1.PodSpec) *corev1.Container {
	for i := range spec.Containers {
		if spec.Containers[i].Name == device {
			return &spec.Containers[i]
		}
	}
	return nil
}

// ids are those of a pool's pods, by name.
func (s *space) ids(pool string) map[string]types.UID {
	s.t.Helper()
	all := map[string]types.UID{}
	for _, p := range s.pods(pool) {
		all[p.Name] = p.UID
	}
	return all
}

// noneLost checks that a client that makes one visit after another met nothing but
// servers that served it, and returns how long it had to wait for one at most.
func (v *visitor) noneLost() (longest time.Duration) {
	v.s.t.Helper()
	lines, err := v.lines(v.s.t.Context())
	if err != nil {
		v.s.t.Fatal(err)
	}
	var asked time.Time
	for _, line := range lines {
		switch line.Step {
		case visit.Asked:
			asked = line.At
		case visit.Granted:
			longest = max(longest, line.At.Sub(asked))
		case visit.Lost:
			v.s.t.Errorf("client %s has lost a session: %+v", v.pod.Name, line)
		}
	}
	return longest
}

// TestRollout: a template is changed while two of four servers are busy.
func TestRollout(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 4, quick, s.ownTemplate) // maxUnavailable 25%
	was := s.awaitFree("dev", 4).Status.Revision

	const hold = 25 * time.Second
	holders := s.holders("dev", hold, "a", "b")
	busy := map[string]bool{holders[0].server("dev"): true, holders[1].server("dev"): true}
	before := s.ids("dev")
	guarded := s.guard("dev", 4, 1)
	s.change("dev", func(spec *v1alpha1.RPCPoolSpec) {
		deviceIn(&spec.Template.Spec).Env = []corev1.EnvVar{{Name: "GENERATION", Value: "second"}}
	})
	p := s.await("dev", "two servers that are new, and one to wait for", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.UpdatedReplicas, 2) && progress(st).Reason == v1alpha1.ReasonWaitingForBusy
	})
	if p.Status.Revision == was {
		t.Errorf("the revision still is %s", was)
	}
	for name, id := range s.ids("dev") {
		if busy[name] != (before[name] == id) {
			t.Errorf("%s has been busy: %t, and made anew: %t", name, busy[name], before[name] != id)
		}
	}
	// Not sooner: a server that is busy for a moment is no longer among the free ones.
	caller := s.visitor("caller", "dev", "--hold", "100ms", "--repeat")
	defer caller.stop()
	for _, v := range holders {
		v.endsInOrder(hold)
	}
	s.await("dev", "a rollout that is over", func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.UpdatedReplicas, 4) && is(st.ReadyReplicas, 4) && progress(st).Reason == v1alpha1.ReasonUpToDate
	})
	if g := guarded(); g.most != 1 {
		t.Errorf("at most %d servers were away at a time: nobody has looked", g.most)
	}
	t.Logf("the client that came and went all the time waited %s at most", caller.noneLost())
	caller.stop()
	p = s.awaitFree("dev", 4)
	for _, pod := range s.pods("dev") {
		if env := deviceIn(&pod.Spec).Env; len(env) != 1 || env[0].Value != "second" || pod.Labels[v1alpha1.LabelRevision] != p.Status.Revision {
			t.Errorf("%s is of revision %s with %v, want %s", pod.Name, pod.Labels[v1alpha1.LabelRevision], env, p.Status.Revision)
		}
	}
}

// TestRolloutThatFails: it stops at the first server that does not come, and the others
// go on, as they are, until somebody mends the manifest.
func TestRolloutThatFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.RPCPoolSpec)
		stuck  func(*v1alpha1.RPCPoolStatus) error
	}{
		{
			"an image that is not there",
			func(spec *v1alpha1.RPCPoolSpec) { deviceIn(&spec.Template.Spec).Image = "rpcpool.dev/none:such" },
			func(st *v1alpha1.RPCPoolStatus) error {
				if p := progress(st); p.Reason != v1alpha1.ReasonPodsDoNotStart || !strings.Contains(p.Message, "rpcpool.dev/none:such") {
					return fmt.Errorf("progress: %+v", p)
				}
				return nil
			},
		},
		{
			"a worker that is not there",
			func(spec *v1alpha1.RPCPoolSpec) { spec.Server.Command = []string{"/opt/none"} },
			func(st *v1alpha1.RPCPoolStatus) error {
				if p := progress(st); !is(st.Quarantined, 1) || !strings.Contains(p.Message, "waits for servers to be ready: dev-") {
					return fmt.Errorf("%d in quarantine, progress: %+v", st.Quarantined, p)
				}
				return nil
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := the.namespace(t, restricted)
			s.pool("dev", 3, quick, s.ownTemplate)
			p := s.awaitFree("dev", 3)
			good := p.Spec.DeepCopy()
			before := s.ids("dev")
			stop := s.guard("dev", 3, 1)
			s.change("dev", c.change)
			s.eventuallyStatus("dev", "a rollout that is stuck", c.stuck)
			// It would go on within a second, if it did.
			client := s.holders("dev", 8*time.Second, "client")[0]
			client.endsInOrder(8 * time.Second)
			s.eventuallyStatus("dev", "a rollout that is stuck still", c.stuck)
			same := 0
			for name, id := range s.ids("dev") {
				if before[name] == id {
					same++
				}
			}
			if same != 2 {
				t.Errorf("%d servers are as they were, want 2", same)
			}
			s.change("dev", func(spec *v1alpha1.RPCPoolSpec) { *spec = *good })
			healed := s.awaitFree("dev", 3)
			stop()
			if healed.Status.Revision != p.Status.Revision {
				t.Errorf("the old manifest has revision %s now, it was %s", healed.Status.Revision, p.Status.Revision)
			}
		})
	}
}

// eventuallyStatus waits until nobody complains about a pool's status.
func (s *space) eventuallyStatus(pool, what string, complaint func(*v1alpha1.RPCPoolStatus) error) {
	s.t.Helper()
	eventually(s.t, patience, what, func(ctx context.Context) error {
		p := &v1alpha1.RPCPool{}
		if err := s.api.Get(ctx, s.key(pool), p); err != nil {
			return err
		}
		return complaint(&p.Status)
	})
}
