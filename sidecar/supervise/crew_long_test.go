package supervise

import (
	"testing"
	"time"
)

func longPolicy(warm int) Policy {
	p := testPolicy
	p.LongLived, p.Warm = true, warm
	return p
}

// prove has the crew's worker pass the probe.
func (s *crewStory) prove(worker string) {
	s.t.Helper()
	if !s.crew.NeedsProbe(s.now) {
		s.t.Fatal("no probe is due")
	}
	if got, cold, ok := s.crew.Take(s.now, true); got != worker || cold || !ok {
		s.t.Fatalf("the probe goes to %q (cold %v, ok %v), want %q", got, cold, ok, worker)
	}
	s.crew.Returned(worker)
	s.crew.Healthy()
	s.crew.Proved(worker)
}

func TestALongLivedWorkerIsAskedBeforeItsFirstOfferThenServesAgainAndAgain(t *testing.T) {
	s := newCrewStory(t, longPolicy(0)) // one is kept all the same
	w := s.startReady()
	s.wantHealth(HealthStarting)
	s.prove(w)
	s.wantHealth(HealthReady)
	for range 100 {
		if got, cold, ok := s.crew.Take(s.now, false); got != w || cold || !ok {
			t.Fatalf("Take = %q, cold %v, ok %v; want the one worker", got, cold, ok)
		}
		s.wantStarts(0) // it comes back: nothing is to be refilled
		s.crew.Returned(w)
		s.wantHealth(HealthReady)
	}
}

func TestALongLivedWorkerIsReplacedAtOnceHoweverItEnds(t *testing.T) {
	s := newCrewStory(t, longPolicy(1))
	for _, cause := range []Cause{CauseTimeout, CauseCrashExit, CauseCrashSignal, CauseCompleted} {
		w := s.startReady()
		s.prove(w)
		s.crew.Take(s.now, false)
		s.crew.Exited(s.now, w, Report{Cause: cause})
		s.wantStarts(1)
	}
	// Killed between sessions, a hundred times: it became ready each time.
	for range 100 {
		w := s.startReady()
		s.prove(w)
		s.crew.Exited(s.now, w, Report{Cause: CauseStartFailed, Code: -1, Signal: 9})
		s.wantStarts(1)
	}
}

func TestALongLivedWorkerThatNeverProvesGoodIsBackedOff(t *testing.T) {
	s := newCrewStory(t, longPolicy(1))
	for range 3 {
		s.now = s.crew.NotBefore()
		w := s.startReady()
		s.crew.Take(s.now, true)
		s.crew.Exited(s.now, w, Report{Cause: CauseStartFailed})
		s.wantStarts(0)
	}
	s.wantHealth(HealthQuarantined)
}

func TestTheWorkerThatServedLastServesNextAndAStandbyTakesItsPlace(t *testing.T) {
	s := newCrewStory(t, longPolicy(2))
	first := s.startReady()
	s.prove(first)
	standby := s.startReady()
	if s.crew.NeedsProbe(s.now) {
		t.Fatal("a free device is withdrawn to ask a standby")
	}
	for range 3 {
		if got, _, _ := s.crew.Take(s.now, false); got != first {
			t.Fatalf("Take = %q, want the one that served last", got)
		}
		s.crew.Returned(first)
	}
	s.crew.Take(s.now, false)
	s.crew.Exited(s.now, first, Report{Cause: CauseCrashSignal})
	s.prove(standby)
	s.wantHealth(HealthReady)
	if got, _, _ := s.crew.Take(s.now, false); got != standby {
		t.Fatalf("Take = %q, want the standby", got)
	}
	s.wantStarts(1)
}

func TestAClientGetsAProvedWorkerIfThereIsOneAndAnyIfNot(t *testing.T) {
	s := newCrewStory(t, longPolicy(2))
	old := s.startReady()
	s.prove(old)
	young := s.startReady()
	if got, _, _ := s.crew.Take(s.now, false); got != old {
		t.Fatalf("a client gets %q, want the proved one", got)
	}
	if got, _, _ := s.crew.Take(s.now, false); got != young {
		t.Fatalf("a client who waits gets %q, want what there is", got)
	}
}

func TestTheNextSpareWaitsUntilTheSessionIsUnderWay(t *testing.T) {
	p := testPolicy
	p.RefillPause = 5 * time.Millisecond
	s := newCrewStory(t, p)
	w := s.startReady()
	s.crew.Take(s.now, false)
	starts, again := s.crew.Plan(s.now)
	if starts != 0 || !again.Equal(s.now.Add(5*time.Millisecond)) {
		t.Fatalf("%d starts, asked again %s; want none for 5ms", starts, again)
	}
	s.crew.Exited(s.now, w, Report{Cause: CauseCrashSignal}) // over before that: there is nothing to disturb
	s.wantStarts(1)
	s.startReady()
	s.crew.Take(s.now, false)
	s.now = s.now.Add(5 * time.Millisecond)
	s.wantStarts(1)
}

func TestTheHoldLastsUntilAWorkerHasServed(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 3 {
		s.now = s.crew.NotBefore()
		s.failStart()
	}
	for range 5 { // failures that lie further apart than the window end no hold
		s.now = s.now.Add(2 * testPolicy.QuarantineWindow)
		s.failStart()
		s.wantHealth(HealthQuarantined)
	}
	s.now = s.crew.NotBefore()
	s.startReady()
	s.crew.Healthy()
	s.wantHealth(HealthReady)
}

func TestTheEndOfAnAgentIsNoFailureOfItsWorkers(t *testing.T) {
	s := newCrewStory(t, testPolicy)
	for range 10 {
		if s.crew.Exited(s.now, s.startReady(), Report{Cause: CauseKilledDrain}) {
			t.Fatal("a spare that was dismissed counts as a failure")
		}
		s.wantStarts(1)
	}
}
