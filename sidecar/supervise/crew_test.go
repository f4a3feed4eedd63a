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

// crewStory drives a Crew through a story and lets a test ask it along the way.
type crewStory struct {
	t    *testing.T
	crew *Crew
	now  time.Time
}

func newCrewStory(t *testing.T, p Policy) *crewStory {
	s := &crewStory{t: t, crew: NewCrew(p, "w"), now: time.Unix(1000, 0)}
	s.crew.Connected()
	return s
}

func (s *crewStory) wantStarts(want int) {
	s.t.Helper()
	if got, _ := s.crew.Plan(s.now); got != want {
		s.t.Fatalf("plan starts %d workers, want %d", got, want)
	}
}

func (s *crewStory) wantHealth(want Health) {
	s.t.Helper()
	if got, reason := s.crew.Health(); got != want {
		s.t.Fatalf("health is %s (%s), want %s", got, reason, want)
	}
}

func (s *crewStory) start() string {
	s.t.Helper()
	s.wantStarts(1)
	return s.crew.Start()
}

func (s *crewStory) startReady() string {
	s.t.Helper()
	w := s.start()
	if !s.crew.Ready(w) {
		s.t.Fatalf("worker %s was starting and is not accepted as ready", w)
	}
	return w
}

func (s *crewStory) failStart() {
	s.t.Helper()
	s.crew.Exited(s.now, s.start(), Report{Cause: CauseStartFailed, Error: "no such file"})
}

func TestASpareIsKeptReadyAndRefilledWhileTheSessionRuns(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	s.wantHealth(HealthStarting)
	first := s.startReady()
	s.wantStarts(0)
	s.wantHealth(HealthReady)
	worker, cold, ok := s.crew.Take(s.now, false)
	if worker != first || cold || !ok {
		t.Fatalf("Take = %q, cold %v, ok %v; want the spare", worker, cold, ok)
	}
	s.wantHealth(HealthStarting)
	s.startReady()
	s.crew.Exited(s.now, first, Report{Cause: CauseCrashSignal})
	s.wantHealth(HealthReady)
}

func TestSparesServeInTheOrderInWhichTheyBecameReady(t *testing.T) {
	p := testPolicy
	p.Warm = 2
	s := newCrewStory(t, p)
	first := s.startReady()
	second := s.startReady()
	for _, want := range []string{first, second} {
		if got, _, _ := s.crew.Take(s.now, false); got != want {
			t.Fatalf("Take = %q, want %q", got, want)
		}
	}
}

func TestOneStartIsInFlightAtATime(t *testing.T) {
	p := testPolicy
	p.Warm = 3
	s := newCrewStory(t, p)
	s.start()
	s.wantStarts(0)
}

func TestAWorkerThatCrashesInItsSessionIsReplacedAtOnce(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 1000 {
		w := s.startReady()
		s.crew.Take(s.now, false)
		s.crew.Exited(s.now, w, Report{Cause: CauseCrashSignal})
		s.wantStarts(1)
	}
}

func TestStartsThatFailAreBackedOffAndThenQuarantined(t *testing.T) {
	s := newCrewStory(t, testPolicy)
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
	if _, again := s.crew.Plan(s.now); !again.Equal(s.now.Add(400 * time.Millisecond)) {
		t.Fatalf("next probe at %s, want 400ms from %s", again, s.now)
	}
}

func TestQuarantineAndBackoffEndWhenASpareHasPassedTheProbe(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 3 {
		s.failStart()
		s.now = s.crew.NotBefore()
	}
	s.wantHealth(HealthQuarantined)
	w := s.startReady()
	s.wantHealth(HealthQuarantined) // to say that it is ready proves too little
	if !s.crew.NeedsProbe(s.now) {
		t.Fatal("no probe is due")
	}
	s.crew.Take(s.now, true)
	s.crew.Exited(s.now, w, Report{Cause: CauseCompleted})
	s.crew.Healthy()
	s.startReady()
	s.wantHealth(HealthReady)
	s.crew.Take(s.now, false)
	s.now = s.now.Add(time.Second)
	s.failStart()
	if got := s.crew.NotBefore().Sub(s.now); got != 100*time.Millisecond {
		t.Fatalf("backoff after a good session begins at %s, want 100ms", got)
	}
}

func TestWorkersThatSayReadyAndThenFailAreQuarantinedAllTheSame(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 3 {
		s.now = s.crew.NotBefore()
		w := s.startReady()
		s.crew.Take(s.now, false) // for a probe
		s.crew.Exited(s.now, w, Report{Cause: CauseCompleted})
		s.crew.Failed(s.now, "the wrong flavour")
	}
	s.wantHealth(HealthQuarantined)
	s.wantStarts(0)
	if got := s.crew.NotBefore().Sub(s.now); got != 400*time.Millisecond {
		t.Fatalf("backoff of %s, want 400ms", got)
	}
}

func TestBackoffIsCapped(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 100 {
		s.failStart()
		if pause := s.crew.NotBefore().Sub(s.now); pause > 30*time.Second || pause < 100*time.Millisecond {
			t.Fatalf("pause of %s", pause)
		}
		s.now = s.crew.NotBefore()
	}
}

func TestFailuresLongAgoDoNotQuarantine(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 6 {
		s.failStart()
		s.now = s.now.Add(40 * time.Second)
		s.wantHealth(HealthStarting)
	}
}

func TestASpareThatDiesIdleCountsAsAFailure(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	s.crew.Exited(s.now, s.startReady(), Report{Cause: CauseStartFailed})
	s.wantStarts(0)
	s.wantHealth(HealthStarting)
}

func TestColdWorkersAreStartedBySessions(t *testing.T) {
	p := testPolicy
	p.Warm = 0
	s := newCrewStory(t, p)
	s.wantStarts(0)
	s.wantHealth(HealthReady)
	w, cold, ok := s.crew.Take(s.now, false)
	if !cold || !ok {
		t.Fatalf("Take: cold %v, ok %v", cold, ok)
	}
	s.crew.Exited(s.now, w, Report{Cause: CauseStartFailed, Error: "no such file"})
	s.wantHealth(HealthStarting)
	if _, _, ok := s.crew.Take(s.now, false); ok {
		t.Fatal("a worker may be taken during the backoff")
	}
	if s.crew.NeedsProbe(s.now) {
		t.Fatal("a probe is due during the backoff")
	}
	s.now = s.crew.NotBefore()
	s.wantHealth(HealthStarting) // no client is let in to find out
	if !s.crew.NeedsProbe(s.now) {
		t.Fatal("no probe is due after the backoff")
	}
	s.crew.Healthy()
	s.wantHealth(HealthReady)
}

func TestQuarantineOfColdWorkersEndsByAProbe(t *testing.T) {
	p := testPolicy
	p.Warm = 0
	s := newCrewStory(t, p)
	for range 3 {
		s.now = s.crew.NotBefore()
		w, _, ok := s.crew.Take(s.now, false)
		if !ok {
			t.Fatal("no worker may be taken for the probe")
		}
		s.crew.Exited(s.now, w, Report{Cause: CauseStartFailed, Error: "no such file"})
	}
	s.wantHealth(HealthQuarantined)
	s.now = s.crew.NotBefore()
	if !s.crew.NeedsProbe(s.now) {
		t.Fatal("quarantine without a way out")
	}
	s.crew.Healthy()
	s.wantHealth(HealthReady)
}

func TestADeviceWhoseWorkerOutlivesSIGKILLIsFaultyUntilItEnds(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	w := s.startReady()
	s.crew.Take(s.now, false)
	next := s.start()
	s.crew.Terminating(w)
	s.crew.Unkillable(w)
	s.wantHealth(HealthFault)
	s.crew.Ready(next) // a good start does not cure the device
	if h, reason := s.crew.Health(); h != HealthFault || !strings.Contains(reason, w) {
		t.Fatalf("health is %s (%q), want a fault that names %s", h, reason, w)
	}
	s.crew.Exited(s.now, w, Report{Cause: CauseUnkillable})
	s.wantHealth(HealthReady)
}

func TestALostAgentTakesItsWorkersAlong(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	s.startReady()
	s.crew.Disconnected()
	s.wantHealth(HealthNoAgent)
	s.wantStarts(0)
	if _, _, ok := s.crew.Take(s.now, false); ok {
		t.Fatal("a worker may be taken without an agent")
	}
	s.crew.Connected()
	s.startReady()
	s.wantHealth(HealthReady)
}

func TestEventsOfUnknownWorkersChangeNothing(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	s.startReady()
	if s.crew.Ready("nobody") {
		t.Fatal("an unknown worker is accepted as ready")
	}
	s.crew.Exited(s.now, "nobody", Report{Cause: CauseStartFailed})
	s.crew.Terminating("nobody")
	s.wantHealth(HealthReady)
}

// TestCrewInvariants throws random events at a Crew: whatever happens, it never
// keeps more spares than asked for, never hands out a worker twice, never hands
// one out that is not ready, and always finds back to a ready device once starts
// succeed.
func TestCrewInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := testPolicy
		p.Warm = rapid.IntRange(0, 3).Draw(t, "warm")
		p.LongLived = rapid.Bool().Draw(t, "long-lived")
		l := NewCrew(p, "w")
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
			"ready": func(*rapid.T) { l.Ready(pick()) },
			"returned": func(*rapid.T) {
				w := pick()
				l.Returned(w)
				delete(taken, w)
			},
			"proved":     func(*rapid.T) { l.Proved(pick()) },
			"terminate":  func(*rapid.T) { l.Terminating(pick()) },
			"unkillable": func(*rapid.T) { l.Unkillable(pick()) },
			"exit":       func(*rapid.T) { l.Exited(now, pick(), Report{Cause: CauseCrashExit}) },
			"fail":       func(*rapid.T) { l.Exited(now, pick(), Report{Cause: CauseStartFailed}) },
			"time":       func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 4e10).Draw(t, "ns"))) },
			"agent":      func(*rapid.T) { l.Disconnected(); l.Connected() },
			"take": func(t *rapid.T) {
				w, cold, ok := l.Take(now, false)
				if !ok {
					return
				}
				if taken[w] {
					t.Fatalf("worker %s handed out twice", w)
				}
				if cold != (p.keep() == 0) {
					t.Fatalf("worker %s cold: %v, with %d warm ones wanted", w, cold, p.Warm)
				}
				taken[w] = true
			},
			"": func(t *rapid.T) {
				if n := len(l.in(StateSpare)) + len(l.in(StateReady)); n > p.keep() || n != len(l.idle) {
					t.Fatalf("%d wait by state, %d in line, %d wanted", n, len(l.idle), p.keep())
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
func mustRecover(t *rapid.T, l *Crew, now time.Time) {
	for w := range l.workers {
		l.Exited(now, w, Report{Cause: CauseCompleted})
	}
	now = now.Add(time.Hour)
	for range l.policy.keep() {
		if n, _ := l.Plan(now); n != 1 {
			t.Fatalf("no start planned for a device that could come back")
		}
		w := l.Start()
		l.Ready(w)
		l.Proved(w)
	}
	if l.NeedsProbe(now) || l.policy.Warm > 0 {
		l.Healthy()
	}
	if h, reason := l.Health(); h != HealthReady {
		t.Fatalf("device is %s (%s) after everything went well", h, reason)
	}
}

// Servers that failed together do not try again together.
func TestPausesAreJittered(t *testing.T) {
	for random, want := range map[float64]time.Duration{
		0: 80 * time.Millisecond, 0.5: 100 * time.Millisecond, 0.75: 110 * time.Millisecond, 1: 120 * time.Millisecond,
	} {
		p := Policy{BackoffMin: 100 * time.Millisecond, BackoffMax: time.Hour, Random: func() float64 { return random }}
		c, now := NewCrew(p, "w"), time.Unix(0, 0)
		c.Failed(now, "it failed")
		if got := c.NotBefore().Sub(now); got.Round(time.Microsecond) != want {
			t.Errorf("random %v: a pause of %s, want %s", random, got, want)
		}
		c.Failed(now, "and again")
		if got := c.NotBefore().Sub(now); got.Round(time.Microsecond) != 2*want {
			t.Errorf("random %v: then a pause of %s, want %s", random, got, 2*want)
		}
	}
}
