package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// scale is what an autoscaler does.
func (s *space) scale(pool string, replicas int) {
	s.t.Helper()
	s.run("scale", "rpcpool", pool, fmt.Sprintf("--replicas=%d", replicas))
}

// progress is the pool's condition of that name.
func progress(st *v1alpha1.RPCPoolStatus) metav1.Condition {
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionProgressing); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// holders start as many clients as there are names, and wait until each has a server.
// They give them back after the time, in order if nobody takes them away.
func (s *space) holders(pool string, hold time.Duration, names ...string) []*visitor {
	s.t.Helper()
	all := make([]*visitor, len(names))
	for i, name := range names {
		all[i] = s.visitor(name, pool, "--hold", hold.String())
	}
	for _, v := range all {
		v.await(0, visit.Working)
	}
	return all
}

// server is the pod that serves a client's first session.
func (v *visitor) server(pool string) string {
	v.s.t.Helper()
	at := v.await(0, visit.Working).Server
	for _, p := range v.s.pods(pool) {
		if strings.HasPrefix(at, p.Status.PodIP+":") {
			return p.Name
		}
	}
	v.s.t.Fatalf("client %s is at %s, which is no pod of %s", v.pod.Name, at, pool)
	return ""
}

// endsInOrder waits for the end of a client's first session, which is its client's
// doing and not sooner than that wanted.
func (v *visitor) endsInOrder(hold time.Duration) time.Time {
	v.s.t.Helper()
	lines := v.all()
	began, end := mustStep(v.s.t, lines, 0, visit.Working), mustStep(v.s.t, lines, 0, visit.Done)
	if lasted := end.At.Sub(began.At); lasted < hold {
		v.s.t.Errorf("the session of %s lasted %s, want %s", v.pod.Name, lasted, hold)
	}
	return end.At
}

// waitsForBusy is the message of a pool that can do nothing until a session ends.
var waitsForBusy = regexp.MustCompile(`^the server in pod (\S+) is in a session with (\S+) since (\S+); ` +
	`its pod is deleted when the session is over, at (\S+) at the latest`)

// waiting is what the message says.
type waiting struct {
	pod, client     string
	since, deadline time.Time
}

func (s *space) awaitBusy(pool string, pods int32) waiting {
	s.t.Helper()
	p := s.await(pool, "a wait for a session", func(st *v1alpha1.RPCPoolStatus) bool {
		return progress(st).Reason == v1alpha1.ReasonWaitingForBusy && is(st.Replicas, pods)
	})
	message := progress(&p.Status).Message
	words := waitsForBusy.FindStringSubmatch(message)
	if words == nil {
		s.t.Fatalf("the condition says %q", message)
	}
	w := waiting{pod: words[1], client: words[2]}
	for at, word := range map[*time.Time]string{&w.since: words[3], &w.deadline: words[4]} {
		var err error
		if *at, err = time.Parse(time.RFC3339, word); err != nil {
			s.t.Fatalf("%q: %v", message, err)
		}
	}
	return w
}

// TestScale: up and down again, while two of four servers are busy.
func TestScale(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 1, quick)
	s.awaitFree("dev", 1)
	s.scale("dev", 4)
	s.run("wait", "--for=condition=Ready", "rpcpool/dev", "--timeout=80s")
	s.awaitFree("dev", 4)

	const hold = 25 * time.Second
	clients := map[string]*visitor{} // by pod
	for _, v := range s.holders("dev", hold, "a", "b") {
		clients[v.server("dev")] = v
	}
	before := map[string]string{} // ids of pods
	for _, p := range s.pods("dev") {
		before[p.Name] = string(p.UID)
	}
	s.scale("dev", 1)
	w := s.awaitBusy("dev", 2)
	for _, p := range s.pods("dev") {
		if clients[p.Name] == nil {
			t.Errorf("%s is left, which was free, and a busy one is gone", p.Name)
		}
	}
	leaving := clients[w.pod]
	if leaving == nil {
		t.Fatalf("the pool waits for %s, which is in no session", w.pod)
	}
	s.isAbout(w, leaving)
	if got := s.run("get", "rpcpool", "dev", "--subresource=scale", "--output=jsonpath={.spec.replicas} {.status.replicas}"); got != "1 2" {
		t.Errorf("the scale subresource says %q, want 1 wanted of 2", got)
	}
	for _, v := range clients {
		v.endsInOrder(hold)
	}
	s.awaitFree("dev", 1)
	for _, p := range s.pods("dev") {
		if p.Name == w.pod || string(p.UID) != before[p.Name] {
			t.Errorf("%s is left, want the one that %s was not to wait for, untouched", p.Name, w.pod)
		}
	}
	s.scale("dev", 0)
	s.await("dev", "no servers", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Replicas, 0) && is(st.Draining, 0) })
	s.run("wait", "--for=condition=Ready", "rpcpool/dev", "--timeout=20s")
}

// isAbout compares what a condition says with what the client knows.
func (s *space) isAbout(w waiting, client *visitor) {
	s.t.Helper()
	const near = 3 * time.Second // what is written has whole seconds
	if ip := s.pod(client.pod.Name).Status.PodIP; !strings.HasPrefix(w.client, ip+":") {
		s.t.Errorf("the condition names client %s, which is at %s", w.client, ip)
	}
	if began := client.await(0, visit.Granted).At; w.since.Sub(began).Abs() > near {
		s.t.Errorf("the condition says since %s, the client %s", w.since, began)
	}
	drained, err := time.Parse(time.RFC3339, s.pod(w.pod).Annotations[v1alpha1.AnnotationDraining])
	if want := drained.Add(10 * time.Minute); err != nil || w.deadline.Sub(want).Abs() > near {
		s.t.Errorf("the condition says until %s, want drainTimeout after the annotation, %s: %v", w.deadline, want, err)
	}
}

// TestScaleDownTakenBack: a server that was to go as soon as its session ends stays.
func TestScaleDownTakenBack(t *testing.T) {
	s := the.namespace(t, restricted)
	s.pool("dev", 2, quick)
	s.awaitFree("dev", 2)
	const hold = 12 * time.Second
	holders := s.holders("dev", hold, "a", "b")
	before := s.pods("dev")
	s.scale("dev", 1)
	leaving := s.awaitBusy("dev", 2).pod
	s.scale("dev", 2)
	s.await("dev", "nobody who drains", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Draining, 0) && is(st.Busy, 2) })
	if since := s.pod(leaving).Annotations[v1alpha1.AnnotationDraining]; since != "" {
		t.Errorf("%s still drains, since %s", leaving, since)
	}
	for _, v := range holders {
		v.endsInOrder(hold)
	}
	s.awaitFree("dev", 2)
	for _, p := range before {
		if s.pod(p.Name).UID != p.UID {
			t.Errorf("%s is another pod", p.Name)
		}
	}
}

// TestDrainTimeout: a session that does not end in time is ended, and its client is
// told why. The time is longer than what a pod has to end when it is over.
func TestDrainTimeout(t *testing.T) {
	s := the.namespace(t, restricted)
	const timeout = 15 * time.Second
	s.pool("dev", 1, quick, func(p *v1alpha1.RPCPool) { p.Spec.Rollout.DrainTimeout = duration(timeout) })
	s.awaitFree("dev", 1)
	client := s.holders("dev", 10*time.Minute, "late")[0]
	scaled := time.Now()
	s.scale("dev", 0)
	w := s.awaitBusy("dev", 1)
	end := client.await(0, visit.Lost)
	if !strings.Contains(end.Error, "killed-drain") {
		t.Errorf("the client is told %q, want killed-drain", end.Error)
	}
	if lasted := end.At.Sub(scaled); lasted < timeout-time.Second || lasted > timeout+5*time.Second {
		t.Errorf("the session is lost %s after the scale-down, want %s (the condition said %s)", lasted, timeout, w.deadline)
	}
	s.await("dev", "no servers", func(st *v1alpha1.RPCPoolStatus) bool { return is(st.Replicas, 0) })
	s.awaitEvent("dev", v1alpha1.ReasonDrainTimeout, "dev-0 (client "+w.client)
}
