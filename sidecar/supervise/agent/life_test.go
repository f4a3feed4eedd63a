package agent

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// step is one event of a life, at a time in milliseconds, and what must follow.
type step struct {
	at    int
	event func(l *life, now time.Time) []effect
	want  []effect
	phase phase
	wake  int // milliseconds; 0: nothing is due
}

func at(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }

func evForked(l *life, now time.Time) []effect   { return l.forked(now) }
func evExec(l *life, now time.Time) []effect     { return l.execResult(now, "") }
func evNoExec(l *life, now time.Time) []effect   { return l.execResult(now, "no such program") }
func evReady(l *life, _ time.Time) []effect      { return l.signalReady() }
func evLost(l *life, now time.Time) []effect     { return l.controlLost(now) }
func evTick(l *life, now time.Time) []effect     { return l.tick(now) }
func evTreeGone(l *life, _ time.Time) []effect   { return l.treeGone() }
func evExit0(l *life, now time.Time) []effect    { return l.exited(now, exit{}) }
func evExit7(l *life, now time.Time) []effect    { return l.exited(now, exit{code: 7}) }
func evExit76(l *life, now time.Time) []effect   { return l.exited(now, exit{code: 76}) }
func evSegv(l *life, now time.Time) []effect     { return evSignal(syscall.SIGSEGV, false)(l, now) }
func evKilled(l *life, now time.Time) []effect   { return evSignal(syscall.SIGKILL, false)(l, now) }
func evTermed(l *life, now time.Time) []effect   { return evSignal(syscall.SIGTERM, false)(l, now) }
func evOOM(l *life, now time.Time) []effect      { return evSignal(syscall.SIGKILL, true)(l, now) }
func evRejected(l *life, now time.Time) []effect { return l.rejectSession(now, "broken pipe") }

func evSignal(s syscall.Signal, oom bool) func(*life, time.Time) []effect {
	return func(l *life, now time.Time) []effect {
		return l.exited(now, exit{code: -1, signal: s, oom: oom})
	}
}

func evSession(timeoutMS int) func(*life, time.Time) []effect {
	return func(l *life, now time.Time) []effect {
		effects, err := l.giveSession(now, &supervise.Session{ID: "s", Timeout: time.Duration(timeoutMS) * time.Millisecond})
		if err != nil {
			return nil
		}
		return effects
	}
}

func evKill(cause supervise.Cause, graceMS int) func(*life, time.Time) []effect {
	return func(l *life, now time.Time) []effect {
		return l.kill(now, cause, time.Duration(graceMS)*time.Millisecond)
	}
}

func TestLife(t *testing.T) {
	start := supervise.Start{
		StartTimeout: 1000 * time.Millisecond, KillGrace: 200 * time.Millisecond, ReapTimeout: 500 * time.Millisecond,
	}
	killSweep := []effect{sendKill, sweep}
	warmUp := []step{
		{0, evForked, nil, launching, 1000},
		{1, evExec, []effect{emitStarted}, warming, 1000},
		{20, evReady, []effect{emitReady}, spare, 0},
	}
	coldUp := []step{
		{1, evForked, nil, launching, 300},
		{2, evExec, []effect{emitStarted}, busy, 300},
	}
	cases := []struct {
		name    string
		cold    bool // with a session of 300 ms
		steps   []step
		cause   supervise.Cause
		failure string
	}{
		{name: "a cold session that ends in order", cold: true, steps: append(coldUp,
			step{50, evExit0, killSweep, killing, 550},
			step{51, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCompleted},
		{name: "a warm session that ends in order", steps: append(warmUp,
			step{100, evSession(400), []effect{handOver}, busy, 500},
			step{300, evExit0, killSweep, killing, 800},
			step{301, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCompleted},
		{name: "a session without a deadline", steps: append(warmUp,
			step{100, evSession(0), []effect{handOver}, busy, 0},
			step{9_999_999, evTick, nil, busy, 0},
			step{9_999_999, evExit7, killSweep, killing, 10_000_499},
			step{9_999_999, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCrashExit},
		{name: "a crash by a signal", cold: true, steps: append(coldUp,
			step{50, evSegv, killSweep, killing, 550},
			step{51, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCrashSignal},
		{name: "a client that broke the protocol", cold: true, steps: append(coldUp,
			step{50, evExit76, killSweep, killing, 550},
			step{51, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseProtocolError},
		{name: "SIGKILL from the kernel for lack of memory", cold: true, steps: append(coldUp,
			step{50, evOOM, killSweep, killing, 550},
			step{51, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseOOM},
		{name: "SIGKILL from a stranger", cold: true, steps: append(coldUp,
			step{50, evKilled, killSweep, killing, 550},
			step{51, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCrashSignal},
		{name: "a deadline, and the worker ends on SIGTERM", cold: true, steps: append(coldUp,
			step{299, evTick, nil, busy, 300},
			step{300, evTick, []effect{sendTerm}, terminating, 500},
			step{310, evExit0, killSweep, killing, 810},
			step{311, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseTimeout},
		{name: "a deadline, and the worker ignores SIGTERM", cold: true, steps: append(coldUp,
			step{300, evTick, []effect{sendTerm}, terminating, 500},
			step{500, evTick, killSweep, killing, 1000},
			step{501, evTreeGone, nil, killing, 1000},
			step{502, evKilled, killSweep, killing, 1000},
			step{503, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseTimeout},
		{name: "a worker that outlives SIGKILL, then ends", cold: true, steps: append(coldUp,
			step{100, evKill(supervise.CauseClientGone, 0), killSweep, killing, 600},
			step{600, evTick, []effect{emitUnkillable}, killing, 0},
			step{700, evTick, nil, killing, 0},
			step{9000, evKilled, killSweep, killing, 0},
			step{9001, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseClientGone},
		{name: "an orphan that outlives SIGKILL after an orderly end", cold: true, steps: append(coldUp,
			step{100, evExit0, killSweep, killing, 600},
			step{600, evTick, []effect{emitUnkillable}, killing, 0},
			step{9001, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCompleted},
		{name: "a kill with grace, shortened, not lengthened", cold: true, steps: append(coldUp,
			step{100, evKill(supervise.CauseClientGone, 100), []effect{sendTerm}, terminating, 200},
			step{110, evKill(supervise.CauseKilledDrain, 500), nil, terminating, 200},
			step{120, evKill(supervise.CauseKilledDrain, 10), nil, terminating, 130},
			step{125, evKill(supervise.CauseKilledDrain, 0), killSweep, killing, 625},
			step{126, evKill(supervise.CauseKilledDrain, 0), nil, killing, 625},
			step{130, evTermed, killSweep, killing, 625},
			step{131, evTreeGone, []effect{clean}, cleaning, 0},
			step{132, evKill(supervise.CauseKilledDrain, 0), nil, cleaning, 0},
		), cause: supervise.CauseClientGone},
		{name: "a kill before the process exists", cold: true, steps: []step{
			{0, evKill(supervise.CauseKilledDrain, 100), nil, forking, 0},
			{1, evKill(supervise.CauseClientGone, 50), nil, forking, 0},
			{5, evForked, []effect{sendTerm}, terminating, 55},
			{6, evTermed, nil, terminating, 55},
			{7, evExec, killSweep, killing, 507},
			{8, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseKilledDrain},
		{name: "a deadline before the process exists", cold: true, steps: []step{
			{300, evTick, nil, forking, 0},
			{400, evForked, []effect{sendTerm}, terminating, 600},
			{401, evExec, nil, terminating, 600},
			{402, evTermed, killSweep, killing, 902},
			{403, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseTimeout},
		{name: "a program that cannot be run", cold: true, steps: []step{
			{0, evForked, nil, launching, 300},
			{1, evNoExec, nil, launching, 300},
			{2, evExit7, killSweep, killing, 502},
			{3, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseStartFailed, failure: "no such program"},
		{name: "a program that cannot be run, and dies first", steps: []step{
			{0, evForked, nil, launching, 1000},
			{1, evExit7, nil, launching, 1000},
			{1, evTreeGone, nil, launching, 1000},
			{2, evNoExec, killSweep, killing, 502},
			{3, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseStartFailed, failure: "no such program"},
		{name: "a program that ends before it is known to run", cold: true, steps: []step{
			{0, evForked, nil, launching, 300},
			{1, evExit0, nil, launching, 300},
			{1, evKill(supervise.CauseClientGone, 0), nil, launching, 300},
			{2, evExec, []effect{emitStarted, sendKill, sweep}, killing, 502},
			{3, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseCompleted},
		{name: "a warm worker that is ready before it is known to run", steps: []step{
			{0, evForked, nil, launching, 1000},
			{1, evReady, nil, launching, 1000},
			{2, evExec, []effect{emitStarted, emitReady}, spare, 0},
			{3, evReady, nil, spare, 0},
			{4, evExit0, killSweep, killing, 504},
			{5, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseStartFailed},
		{name: "a warm worker that is not ready in time", steps: append(warmUp[:2:2],
			step{1000, evTick, []effect{sendTerm}, terminating, 1200},
			step{1001, evReady, nil, terminating, 1200},
			step{1200, evTick, killSweep, killing, 1700},
			step{1201, evKilled, killSweep, killing, 1700},
			step{1202, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseStartFailed, failure: "not ready within 1s"},
		{name: "a spare that closes its socket and lives on", steps: append(warmUp,
			step{50, evLost, nil, spare, 1050},
			step{60, evSession(100), nil, spare, 1050},
			step{1050, evTick, []effect{sendTerm}, terminating, 1250},
			step{1060, evTermed, killSweep, killing, 1560},
			step{1061, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseStartFailed, failure: "closed its control socket"},
		{name: "a socket that is closed before the program is known to run", steps: []step{
			{0, evForked, nil, launching, 1000},
			{1, evReady, nil, launching, 1000},
			{2, evLost, nil, launching, 1002},
			{3, evExec, []effect{emitStarted, emitReady}, spare, 1002},
			{1002, evTick, []effect{sendTerm}, terminating, 1202},
			{1003, evTermed, killSweep, killing, 1503},
			{1004, evTreeGone, []effect{clean}, cleaning, 0},
		}, cause: supervise.CauseStartFailed, failure: "closed its control socket"},
		{name: "a spare that crashes: its socket goes first", steps: append(warmUp,
			step{50, evLost, nil, spare, 1050},
			step{51, evOOM, killSweep, killing, 551},
			step{52, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseOOM},
		{name: "the control socket ends with the hand-over", steps: append(warmUp,
			step{50, evSession(100), []effect{handOver}, busy, 150},
			step{51, evLost, nil, busy, 150},
			step{60, evSession(500), nil, busy, 150},
			step{61, evExit0, killSweep, killing, 561},
			step{62, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseCompleted},
		{name: "a hand-over that fails", steps: append(warmUp,
			step{50, evSession(100), []effect{handOver}, busy, 150},
			step{51, evRejected, killSweep, killing, 551},
			step{52, evRejected, nil, killing, 551},
			step{53, evKilled, killSweep, killing, 551},
			step{54, evTreeGone, []effect{clean}, cleaning, 0},
		), cause: supervise.CauseStartFailed, failure: "broken pipe"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var session *supervise.Session
			if c.cold {
				session = &supervise.Session{ID: "s", Timeout: 300 * time.Millisecond}
			}
			l := newLife(at(0), start, session)
			for i, s := range c.steps {
				if got := s.event(l, at(s.at)); !reflect.DeepEqual(got, s.want) {
					t.Fatalf("step %d: effects %v, want %v", i, got, s.want)
				}
				if l.phase != s.phase {
					t.Fatalf("step %d: phase %v, want %v", i, l.phase, s.phase)
				}
				wake := time.Time{}
				if s.wake > 0 {
					wake = at(s.wake)
				}
				if !l.wake.Equal(wake) {
					t.Fatalf("step %d: wakes at %v, want %v", i, l.wake.Sub(at(0)), wake.Sub(at(0)))
				}
			}
			r := l.report(at(99_999_999), []byte("out"))
			if r.Cause != c.cause || r.Error != c.failure {
				t.Errorf("report says %q, %q; want %q, %q", r.Cause, r.Error, c.cause, c.failure)
			}
		})
	}
}

func TestLifeFillsInDefaults(t *testing.T) {
	l := newLife(at(0), supervise.Start{}, nil)
	if l.start.StartTimeout != DefaultStartTimeout || l.start.ReapTimeout != DefaultReapTimeout {
		t.Errorf("defaults are %v and %v", l.start.StartTimeout, l.start.ReapTimeout)
	}
}

func TestReportMeasuresTheSession(t *testing.T) {
	l := newLife(at(0), supervise.Start{}, nil)
	l.forked(at(1))
	l.execResult(at(2), "")
	l.signalReady()
	if _, err := l.giveSession(at(1000), &supervise.Session{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	if r := l.report(at(1500), nil); r.Wall != 500*time.Millisecond || r.Cause != supervise.CauseUnkillable || r.Code != -1 {
		t.Errorf("while it lives: wall %v, cause %v, code %d", r.Wall, r.Cause, r.Code)
	}
	l.exited(at(3000), exit{code: 3, userTime: 1, sysTime: 2, maxRSS: 4096})
	l.treeGone()
	r := l.report(at(9000), nil)
	want := supervise.Report{
		Cause: supervise.CauseCrashExit, Code: 3, Wall: 2 * time.Second, UserTime: 1, SysTime: 2, MaxRSS: 4096,
	}
	if !reflect.DeepEqual(*r, want) {
		t.Errorf("report %+v, want %+v", *r, want)
	}
}

func TestSessionIsRefusedWithAReason(t *testing.T) {
	fresh := func() *life { return newLife(at(0), supervise.Start{}, nil) }
	spareLife := func() *life {
		l := fresh()
		l.forked(at(1))
		l.execResult(at(2), "")
		l.signalReady()
		return l
	}
	lost := spareLife()
	lost.controlLost(at(3))
	taken := spareLife()
	_, _ = taken.giveSession(at(3), &supervise.Session{ID: "first"})
	for want, l := range map[string]*life{"not ready": fresh(), "closed its control": lost, `session "first" already`: taken} {
		if _, err := l.giveSession(at(4), &supervise.Session{ID: "s"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, want %q in it", err, want)
		}
	}
}

// TestLifeAlwaysEnds drives lives with random events: whatever happened before,
// a life that is told to die, whose process ends and whose tree goes, is over,
// says so once, and says why.
func TestLifeAlwaysEnds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		var session *supervise.Session
		if random.IntN(2) == 0 {
			session = &supervise.Session{ID: "s", Timeout: time.Duration(random.IntN(300)) * time.Millisecond}
		}
		l := newLife(at(0), supervise.Start{KillGrace: time.Duration(random.IntN(3)) * 100 * time.Millisecond}, session)
		now, cleans := 0, 0
		do := func(event func(*life, time.Time) []effect) {
			for _, e := range event(l, at(now)) {
				if e == clean {
					cleans++
				}
				if l.phase == cleaning && e != clean {
					t.Fatalf("effect %v after the end", e)
				}
			}
		}
		do(evForked)
		executed, reaped := false, false
		for range random.IntN(12) {
			now += random.IntN(400)
			switch random.IntN(8) {
			case 0:
				if !executed {
					executed = true
					do(evExec)
				}
			case 1:
				if session == nil {
					do(evReady)
				}
			case 2:
				if session == nil {
					do(evSession(random.IntN(500)))
				}
			case 3:
				do(evKill(supervise.CauseClientGone, random.IntN(200)))
			case 4:
				if session == nil {
					do(evLost)
				}
			case 5:
				if !reaped {
					reaped = true
					do(evExit0)
				}
			case 6:
				do(evTreeGone)
			default:
				do(evTick)
			}
		}
		if !executed {
			do(evExec)
		}
		// Whoever must end by itself has a time at which it will be looked at.
		var bounded bool
		switch l.phase {
		case warming, terminating:
			bounded = true
		case spare:
			bounded = l.lost
		case busy:
			bounded = l.session.Timeout > 0
		case killing:
			bounded = !l.unkillable
		}
		if bounded && l.wake.IsZero() {
			t.Fatalf("phase %v, lost %v: nothing is due", l.phase, l.lost)
		}
		do(evKill(supervise.CauseKilledDrain, 0))
		if !reaped {
			do(evKilled)
		}
		do(evTreeGone)
		if l.phase != cleaning || cleans != 1 {
			t.Fatalf("phase %v after %d cleanings", l.phase, cleans)
		}
		if r := l.report(at(now), nil); r.Cause == "" || r.Cause == supervise.CauseUnkillable {
			t.Fatalf("cause %q", r.Cause)
		}
	}
}
