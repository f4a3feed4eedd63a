package e2e_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// Signals, as the kernel numbers them on every architecture that Go knows.
const (
	sigKill = 9
	sigCont = 18
	sigStop = 19
)

// The containers of a server's pod, and their programs.
const (
	device  = "device"
	sidecar = "rpcpool-sidecar"
)

// fault is something that happens to a pool of one server while a client holds a
// session on it.
type fault struct {
	name string
	// options of the client.
	options []string
	// prepare does what is to be done before the client comes; nil: nothing.
	prepare func(s *space, pod string)
	// strike makes it happen to a server whose worker has that id in its container, and
	// returns when; nil: the client makes it, as soon as its session works.
	strike func(s *space, pod string, worker int) time.Time
	// survives: the session ends as its client wants.
	survives bool
	// cause that the server counts, if it is there to count.
	cause  string
	target time.Duration
}

var (
	workerKilled = fault{
		name: "worker killed", cause: "crash-signal", target: 100 * time.Millisecond,
		strike: func(s *space, pod string, worker int) time.Time {
			return s.hit(target{pod: pod, container: device, process: worker}, sigKill)
		},
	}
	deviceContainerKilled = fault{
		name: "device container killed (agent, PID 1)", target: 2 * time.Second,
		strike: func(s *space, pod string, _ int) time.Time {
			return s.hit(target{pod: pod, container: device, process: first}, sigKill)
		},
	}
	sidecarKilled = fault{
		name: "sidecar container killed", survives: true, target: 2 * time.Second,
		strike: func(s *space, pod string, _ int) time.Time {
			return s.hit(target{pod: pod, container: sidecar, process: first}, sigKill)
		},
	}
)

// quick makes a pool whose sessions end soon after their time is over.
func quick(p *v1alpha1.RPCPool) {
	p.Spec.Server.KillGracePeriod = duration(200 * time.Millisecond)
}

// surviveFor is how long a session lasts that is to survive a fault.
const surviveFor = 4 * time.Second

// suffer makes a fault several times, each while a client holds a session, and
// notes what it costs.
func (s *space) suffer(f fault, times int) {
	s.t.Helper()
	r := row{fault: f.name, target: f.target}
	for i := range times {
		s.fresh("dev-0")
		s.once(f, fmt.Sprintf("client-%d", i), &r)
	}
	the.table.add(r)
	s.t.Logf("%s: detected in %s, recovered in %s, %d sessions lost, saw %q", f.name, span(r.detected), span(r.recovered), r.lost, r.saw)
}

// fresh makes a pod anew if a container of it has been started again: the kubelet
// makes the next start of that wait, for a time that doubles.
func (s *space) fresh(name string) {
	s.t.Helper()
	pod := s.pod(name)
	if container(pod, device).RestartCount+container(pod, sidecar).RestartCount > 0 {
		// In order: one that is deleted by force may serve on for a moment.
		if err := s.api.Delete(s.t.Context(), pod); err != nil {
			s.t.Fatal(err)
		}
		s.awaitGone(pod)
		s.awaitFree("dev", 1)
	}
}

func (s *space) once(f fault, name string, r *row) {
	s.t.Helper()
	hold := "10m"
	if f.survives {
		hold = surviveFor.String()
	}
	before := s.sum("dev", "rpcpool_session_ends_total", "reason")[f.cause]
	if f.prepare != nil {
		f.prepare(s, "dev-0")
	}
	client := s.visitor(name, "dev", append([]string{"--hold", hold + ",0s"}, f.options...)...)
	defer client.stop()
	working := client.await(0, visit.Working)
	struck := working.At // a fault that the client makes
	if f.strike != nil {
		struck = f.strike(s, "dev-0", working.Worker)
	}
	lines := client.all()
	again := mustStep(s.t, lines, 1, visit.Working)
	if end, lost := step(lines, 0, visit.Lost); lost {
		r.lost++
		r.saw = end.Error
		r.detected = append(r.detected, end.At.Sub(struck))
		r.recovered = append(r.recovered, again.At.Sub(struck))
		if f.survives {
			s.t.Errorf("%s: the session is lost: %s", f.name, end.Error)
		}
	} else if done := mustStep(s.t, lines, 0, visit.Done); !f.survives {
		s.t.Errorf("%s: the session ended in order at %s", f.name, done.At)
	} else {
		// Nobody has to notice: what counts is how soon after the session the next one begins.
		r.saw = "nothing: the session went on"
		r.recovered = append(r.recovered, again.At.Sub(done.At))
	}
	s.awaitFree("dev", 1)
	if worst := r.recovered[len(r.recovered)-1]; f.target > 0 && worst > f.target {
		s.t.Errorf("%s: recovered in %s, want at most %s", f.name, worst, f.target)
	}
	if f.cause != "" {
		if after := s.sum("dev", "rpcpool_session_ends_total", "reason")[f.cause]; after != before+1 {
			s.t.Errorf("%s: the server counts %v sessions that ended by %s, before it were %v", f.name, after, f.cause, before)
		}
	}
}

// TestFaultsOfProcesses makes the table of docs/reliability.md, as far as one pod is
// concerned.
func TestFaultsOfProcesses(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	const times = 5
	for _, f := range []fault{
		workerKilled,
		deviceContainerKilled,
		sidecarKilled,
		{
			name: "worker stopped (SIGSTOP), session timeout 2 s", cause: "timeout", options: []string{"--timeout", "2s"},
			strike: func(s *space, pod string, worker int) time.Time {
				return s.hit(target{pod: pod, container: device, process: worker}, sigStop)
			},
		},
		{
			name: "pod deleted at once (--grace-period=0 --force)",
			strike: func(s *space, pod string, _ int) time.Time {
				when := time.Now()
				s.run("delete", "pod", pod, "--grace-period=0", "--force")
				return when
			},
		},
		{
			name: "sidecar stopped (SIGSTOP)", survives: true,
			strike: func(s *space, pod string, _ int) time.Time {
				return s.hit(target{pod: pod, container: sidecar, process: first}, sigStop)
			},
		},
	} {
		t.Run(f.name, func(t *testing.T) { s.in(t).suffer(f, times) })
	}
}

// TestAgentStopped: nobody but its node can stop the first process of a container.
func TestAgentStopped(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	s.suffer(fault{
		name: "agent stopped (SIGSTOP), session timeout 2 s", cause: "timeout", options: []string{"--timeout", "2s"},
		strike: func(s *space, pod string, _ int) time.Time {
			return s.hit(target{pod: pod, container: device, process: first}, sigStop)
		},
	}, 1)
}

// TestOutOfMemory: the worker of a session takes more than its container may have.
func TestOutOfMemory(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick, s.ownTemplate, func(p *v1alpha1.RPCPool) {
		deviceIn(&p.Spec.Template.Spec).Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("192Mi")}
	})
	s.awaitFree("dev", 1)
	s.suffer(fault{
		name: "worker out of memory", cause: "oom", options: []string{"--call", "test.hog"},
	}, 3)
	// With control groups of version 2 the kernel kills the whole container at once. With
	// version 1 it does if the container's first process is the one that it chooses.
	s.suffer(fault{
		name: "device container out of memory (all of it)", cause: "oom", options: []string{"--call", "test.hog"},
		prepare: func(s *space, pod string) {
			id, helper, err := s.containerOn(s.t.Context(), s.name, target{pod: pod, container: device})
			if err == nil {
				_, err = s.exec(s.t.Context(), testSpace, helper, "main", "rpcpool-e2e", "faults", "offer", "--container", id)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		},
	}, 3)
}
