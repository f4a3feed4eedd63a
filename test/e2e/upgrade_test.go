package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/e2e/image/visit"
)

// session is one that a client had.
type session struct {
	client, server string
	began, ended   time.Time
}

// exclusive checks what matters most: that no server had two clients at a time. All
// clients' clocks are the same, or nearly: a device that is given out again is so after
// the worker of the session before has ended.
func exclusive(t *testing.T, clients ...*visitor) {
	t.Helper()
	byServer := map[string][]session{}
	for _, v := range clients {
		lines, err := v.lines(context.Background())
		if err != nil {
			t.Error(err)
			continue
		}
		began := map[int]time.Time{}
		for _, line := range lines {
			switch line.Step {
			case visit.Working:
				began[line.Visit] = line.At
			case visit.Done:
				byServer[line.Server] = append(byServer[line.Server], session{v.pod.Name, line.Server, began[line.Visit], line.At})
			}
		}
	}
	for _, sessions := range byServer {
		slices.SortFunc(sessions, func(a, b session) int { return a.began.Compare(b.began) })
		for i := range sessions[1:] {
			if a, b := sessions[i], sessions[i+1]; b.began.Before(a.ended) {
				t.Errorf("two clients on one server: %+v, %+v", a, b)
			}
		}
	}
}

// awaitImage waits until a pool has n servers, free or busy, whose sidecars are all made from
// an image.
func (s *space) awaitImage(pool string, n int32, image string) {
	s.t.Helper()
	eventually(s.t, patience, fmt.Sprintf("%d servers of %s", n, image), func(context.Context) error {
		var errs []error
		for _, p := range s.pods(pool) {
			if is := sidecarOf(&p).Image; is != image {
				errs = append(errs, fmt.Errorf("%s has %s", p.Name, is))
			}
		}
		return errors.Join(errs...)
	})
	s.await(pool, fmt.Sprintf("%d servers", n), func(st *v1alpha1.RPCPoolStatus) bool {
		return is(st.Replicas, n) && is(st.ReadyReplicas, n) && is(st.UpdatedReplicas, n)
	})
}

// previousImage is that of the version before; the test is left out where there is none.
func previousImage(t *testing.T) string {
	t.Helper()
	image := os.Getenv("E2E_PREVIOUS_IMAGE")
	if the.previous == "" || image == "" {
		t.Skip("it needs the version before: E2E_PREVIOUS_CHART and E2E_PREVIOUS_IMAGE (make e2e)")
	}
	return image
}

// helmTo installs or upgrades the operator, and waits until it is there.
func (s *space) helmTo(chart, image string) {
	s.t.Helper()
	name, tag := repository(image)
	s.must(s.t, s.helm, "upgrade", "--install", release, chart, "--namespace", systemSpace, "--reset-then-reuse-values",
		"--set", "image.repository="+name, "--set", "image.tag="+tag, "--wait", "--timeout", "2m")
}

// TestUpgrade goes from the version before to this one and back, with sessions that
// last longer than the operator's part of it.
func TestUpgrade(t *testing.T) {
	previous := previousImage(t)
	s := the.namespace(t, restricted)
	reinstalled(t)
	s.must(t, s.helm, "uninstall", release, "--namespace", systemSpace, "--wait", "--timeout", "1m")
	s.helmTo(s.previous, previous)
	s.pool("dev", 3, quick)
	s.awaitImage("dev", 3, previous)

	t.Run("upgrade", func(t *testing.T) {
		s.in(t).change3("up", s.image, func() { s.in(t).helmTo(s.chart, s.image) })
	})
	t.Run("rollback", func(t *testing.T) {
		s.in(t).change3("down", previous, func() {
			s.must(t, s.helm, "rollback", release, "--namespace", systemSpace, "--wait", "--timeout", "2m")
		})
	})
}

// change3 replaces the operator of a pool of three servers, two of which are busy, and
// waits until the servers are of that image, too.
func (s *space) change3(name, image string, replace func()) {
	s.t.Helper()
	const hold = 40 * time.Second
	holders := s.holders("dev", hold, "holder-a-"+name, "holder-b-"+name)
	busy := map[string]bool{holders[0].server("dev"): true, holders[1].server("dev"): true}
	before := s.ids("dev")
	guarded := s.guard("dev", 3, 1)
	caller := s.visitor("caller-"+name, "dev", "--hold", "200ms", "--repeat")
	defer caller.stop()
	caller.await(2, visit.Done)
	replaced := time.Now()
	replace()
	took := time.Since(replaced)
	for pod := range busy {
		if s.pod(pod).UID != before[pod] {
			s.t.Errorf("%s has been made anew, in a session", pod)
		}
	}
	first := slices.MinFunc([]time.Time{holders[0].endsInOrder(hold), holders[1].endsInOrder(hold)}, time.Time.Compare)
	if first.Before(replaced.Add(took)) {
		s.t.Errorf("the sessions ended before the operator was replaced, which took %s: nothing is shown", took)
	}
	s.awaitImage("dev", 3, image)
	guarded()
	longest := caller.noneLost()
	s.t.Logf("helm took %s; a client that came and went all the time waited %s at most", short(took), short(longest))
	exclusive(s.t, append(holders, caller)...)
	caller.stop()
	s.awaitFree("dev", 3)
}
