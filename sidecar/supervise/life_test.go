package supervise

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testPolicy = Policy{
	Warm: 1, BackoffMin: 100 * time.Millisecond, BackoffMax: 30 * time.Second,
	QuarantineFailures: 3, QuarantineWindow: time.Minute,
}

// lifeStory drives a Life through a story and lets a test ask it along the way.
type lifeStory struct {
	t    *testing.T
	life *Life
	now  time.Time
}

func newLifeStory(t *testing.T, p Policy) *lifeStory {
	s := &lifeStory{t: t, life: NewLife(p, "w"), now: time.Unix(1000, 0)}
	s.life.Connected()
	return s
}

func (s *lifeStory) wantStarts(want int) {
	s.t.Helper()
	if got, _ := s.life.Plan(s.now); got != want {
		s.t.Fatalf("plan starts %d workers, want %d", got, want)
	}
}

func (s *lifeStory) wantHealth(want Health) {
	s.t.Helper()
	if got, reason := s.life.Health(); got != want {
		s.t.Fatalf("health is %s (%s), want %s", got, reason, want)
	}
}

func (s *lifeStory) start() string {
	s.t.Helper()
	s.wantStarts(1)
	return s.life.Start()
}

func (s *lifeStory) startReady() string {
	s.t.Helper()
	w := s.start()
	if !s.life.Ready(w) {
		s.t.Fatalf("worker %s was starting and is not accepted as ready", w)
	}
	return w
}

func (s *lifeStory) failStart() {
	s.t.Helper()
	s.life.Exited(s.now, s.start(), Report{Cause: CauseStartFailed, Error: "no such file"})
}

func TestASpareIsKeptReadyAndRefilledWhileTheSessionRuns(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	s.wantHealth(HealthStarting)
	first := s.startReady()
	s.wantStarts(0)
	s.wantHealth(HealthReady)
	worker, cold, ok := s.life.Take(s.now)
	if worker != first || cold || !ok {
		t.Fatalf("Take = %q, cold %v, ok %v; want the spare", worker, cold, ok)
	}
	s.wantHealth(HealthStarting)
	s.startReady()
	s.life.Exited(s.now, first, Report{Cause: CauseCrashSignal})
	s.wantHealth(HealthReady)
}

func TestSparesServeInTheOrderInWhichTheyBecameReady(t *testing.T) {
	p := testPolicy
	p.Warm = 2
	s := newLifeStory(t, p)
	first := s.startReady()
	second := s.startReady()
	for _, want := range []string{first, second} {
		if got, _, _ := s.life.Take(s.now); got != want {
			t.Fatalf("Take = %q, want %q", got, want)
		}
	}
}

func TestOneStartIsInFlightAtATime(t *testing.T) {
	p := testPolicy
	p.Warm = 3
	s := newLifeStory(t, p)
	s.start()
	s.wantStarts(0)
}

func TestAWorkerThatCrashesInItsSessionIsReplacedAtOnce(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for range 1000 {
		w := s.startReady()
		s.life.Take(s.now)
		s.life.Exited(s.now, w, Report{Cause: CauseCrashSignal})
		s.wantStarts(1)
	}
}

func TestStartsThatFailAreBackedOffAndThenQuarantined(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for _, pause := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		s.failStart()
		s.wantStarts(0)
		s.wantHealth(HealthStarting)
		s.now = s.now.Add(pause - 1)
		s.wantStarts(0)
		s.now = s.now.Add(1)
	}
	s.failStart()
	s.wantHealth(HealthQuarantined)
	if _, again := s.life.Plan(s.now); !again.Equal(s.now.Add(400 * time.Millisecond)) {
		t.Fatalf("next probe at %s, want 400ms from %s", again, s.now)
	}
}

func TestQuarantineEndsWhenASpareIsReadyAndTheBackoffWhenOneHasServed(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for range 3 {
		s.failStart()
		s.now = s.life.NotBefore()
	}
	s.wantHealth(HealthQuarantined)
	w := s.startReady()
	s.wantHealth(HealthReady)
	s.life.Take(s.now)
	s.life.Exited(s.now, w, Report{Cause: CauseCompleted})
	s.life.Healthy()
	s.failStart()
	if got := s.life.NotBefore().Sub(s.now); got != 100*time.Millisecond {
		t.Fatalf("backoff after a good session begins at %s, want 100ms", got)
	}
}

func TestWorkersThatSayReadyAndThenFailAreQuarantinedAllTheSame(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for range 3 {
		s.now = s.life.NotBefore()
		w := s.startReady()
		s.life.Take(s.now) // for a probe
		s.life.Exited(s.now, w, Report{Cause: CauseCompleted})
		s.life.Failed(s.now, "the wrong flavour")
	}
	s.wantHealth(HealthQuarantined)
	s.wantStarts(0)
	if got := s.life.NotBefore().Sub(s.now); got != 400*time.Millisecond {
		t.Fatalf("backoff of %s, want 400ms", got)
	}
}

func TestBackoffIsCapped(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for range 100 {
		s.failStart()
		if pause := s.life.NotBefore().Sub(s.now); pause > 30*time.Second || pause < 100*time.Millisecond {
			t.Fatalf("pause of %s", pause)
		}
		s.now = s.life.NotBefore()
	}
}

func TestFailuresLongAgoDoNotQuarantine(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	for range 6 {
		s.failStart()
		s.now = s.now.Add(40 * time.Second)
		s.wantHealth(HealthStarting)
	}
}

func TestASpareThatDiesIdleCountsAsAFailure(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	s.life.Exited(s.now, s.startReady(), Report{Cause: CauseStartFailed})
	s.wantStarts(0)
	s.wantHealth(HealthStarting)
}

func TestColdWorkersAreStartedBySessions(t *testing.T) {
	p := testPolicy
	p.Warm = 0
	s := newLifeStory(t, p)
	s.wantStarts(0)
	s.wantHealth(HealthReady)
	w, cold, ok := s.life.Take(s.now)
	if !cold || !ok {
		t.Fatalf("Take: cold %v, ok %v", cold, ok)
	}
	s.life.Exited(s.now, w, Report{Cause: CauseStartFailed, Error: "no such file"})
	s.wantHealth(HealthStarting)
	if _, _, ok := s.life.Take(s.now); ok {
		t.Fatal("a worker may be taken during the backoff")
	}
	if s.life.NeedsProbe(s.now) {
		t.Fatal("a probe is due during the backoff")
	}
	s.now = s.life.NotBefore()
	s.wantHealth(HealthStarting) // no client is let in to find out
	if !s.life.NeedsProbe(s.now) {
		t.Fatal("no probe is due after the backoff")
	}
	s.life.Healthy()
	s.wantHealth(HealthReady)
}

func TestQuarantineOfColdWorkersEndsByAProbe(t *testing.T) {
	p := testPolicy
	p.Warm = 0
	s := newLifeStory(t, p)
	for range 3 {
		s.now = s.life.NotBefore()
		w, _, ok := s.life.Take(s.now)
		if !ok {
			t.Fatal("no worker may be taken for the probe")
		}
		s.life.Exited(s.now, w, Report{Cause: CauseStartFailed, Error: "no such file"})
	}
	s.wantHealth(HealthQuarantined)
	s.now = s.life.NotBefore()
	if !s.life.NeedsProbe(s.now) {
		t.Fatal("quarantine without a way out")
	}
	s.life.Healthy()
	s.wantHealth(HealthReady)
}

func TestADeviceWhoseWorkerOutlivesSIGKILLIsFaultyUntilItEnds(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	w := s.startReady()
	s.life.Take(s.now)
	next := s.start()
	s.life.Terminating(w)
	s.life.Unkillable(w)
	s.wantHealth(HealthFault)
	s.life.Ready(next) // a good start does not cure the device
	if h, reason := s.life.Health(); h != HealthFault || !strings.Contains(reason, w) {
		t.Fatalf("health is %s (%q), want a fault that names %s", h, reason, w)
	}
	s.life.Exited(s.now, w, Report{Cause: CauseUnkillable})
	s.wantHealth(HealthReady)
}

func TestALostAgentTakesItsWorkersAlong(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	s.startReady()
	s.life.Disconnected()
	s.wantHealth(HealthNoAgent)
	s.wantStarts(0)
	if _, _, ok := s.life.Take(s.now); ok {
		t.Fatal("a worker may be taken without an agent")
	}
	s.life.Connected()
	s.startReady()
	s.wantHealth(HealthReady)
}

func TestEventsOfUnknownWorkersChangeNothing(t *testing.T) {
	s := newLifeStory(t, testPolicy)
	s.startReady()
	if s.life.Ready("nobody") {
		t.Fatal("an unknown worker is accepted as ready")
	}
	s.life.Exited(s.now, "nobody", Report{Cause: CauseStartFailed})
	s.life.Terminating("nobody")
	s.wantHealth(HealthReady)
}

// TestLifeInvariants throws random events at a Life: whatever happens, it never
// keeps more spares than asked for, never hands out a worker twice, never hands
// one out that is not ready, and always finds back to a ready device once starts
// succeed.
func TestLifeInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := testPolicy
		p.Warm = rapid.IntRange(0, 3).Draw(t, "warm")
		l := NewLife(p, "w")
		l.Connected()
		now := time.Unix(1000, 0)
		taken := map[string]bool{}
		pick := func() string {
			var names []string
			for w := range l.workers {
				names = append(names, w)
			}
			if len(names) == 0 {
				return "none"
			}
			return rapid.SampledFrom(sorted(names)).Draw(t, "worker")
		}
		t.Repeat(map[string]func(*rapid.T){
			"plan": func(*rapid.T) {
				starts, _ := l.Plan(now)
				for range starts {
					l.Start()
				}
			},
			"ready":      func(*rapid.T) { l.Ready(pick()) },
			"terminate":  func(*rapid.T) { l.Terminating(pick()) },
			"unkillable": func(*rapid.T) { l.Unkillable(pick()) },
			"exit":       func(*rapid.T) { l.Exited(now, pick(), Report{Cause: CauseCrashExit}) },
			"fail":       func(*rapid.T) { l.Exited(now, pick(), Report{Cause: CauseStartFailed}) },
			"time":       func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 4e10).Draw(t, "ns"))) },
			"agent":      func(*rapid.T) { l.Disconnected(); l.Connected() },
			"take": func(t *rapid.T) {
				w, cold, ok := l.Take(now)
				if !ok {
					return
				}
				if taken[w] {
					t.Fatalf("worker %s handed out twice", w)
				}
				if cold != (p.Warm == 0) {
					t.Fatalf("worker %s cold: %v, with %d warm ones wanted", w, cold, p.Warm)
				}
				taken[w] = true
			},
			"": func(t *rapid.T) {
				if n := len(l.in(StateSpare)); n > p.Warm || n != len(l.spares) {
					t.Fatalf("%d spares by state, %d in line, %d wanted", n, len(l.spares), p.Warm)
				}
				if n := len(l.in(StateStarting)); n > 1 {
					t.Fatalf("%d starts in flight", n)
				}
			},
		})
		mustRecover(t, l, now)
	})
}

// mustRecover lets every worker end and every start succeed: the device must come back.
func mustRecover(t *rapid.T, l *Life, now time.Time) {
	for w := range l.workers {
		l.Exited(now, w, Report{Cause: CauseCompleted})
	}
	now = now.Add(time.Hour)
	for range l.policy.Warm {
		if n, _ := l.Plan(now); n != 1 {
			t.Fatalf("no start planned for a device that could come back")
		}
		l.Ready(l.Start())
	}
	if l.NeedsProbe(now) {
		l.Healthy()
	}
	if h, reason := l.Health(); h != HealthReady {
		t.Fatalf("device is %s (%s) after everything went well", h, reason)
	}
}
