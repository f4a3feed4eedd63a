package supervise

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Where a life can be: its state, and the steps within it that tests can tell.
const (
	forking     = "forking"
	launching   = "launching"
	warming     = "warming"
	spare       = "spare"
	waiting     = "ready"
	busy        = "busy"
	draining    = "draining"
	terminating = "terminating"
	killing     = "reaping"
	fault       = "device-fault"
	cleaning    = "cleaning"
)

func where(l *Life) string {
	switch {
	case l.cleaning:
		return cleaning
	case l.state == StateStarting:
		return [...]string{forking, launching, warming}[l.step]
	default:
		return l.state.String()
	}
}

// moment is one event of a life, at a time in milliseconds, and what must follow.
type moment struct {
	at    int
	event func(l *Life, now time.Time) []Effect
	want  []Effect
	where string
	wake  int // milliseconds; 0: nothing is due
}

func at(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }

func evForked(l *Life, now time.Time) []Effect   { return l.Forked(now) }
func evExec(l *Life, now time.Time) []Effect     { return l.ExecResult(now, "") }
func evNoExec(l *Life, now time.Time) []Effect   { return l.ExecResult(now, "no such program") }
func evReady(l *Life, now time.Time) []Effect    { return l.SignalReady(now) }
func evLost(l *Life, now time.Time) []Effect     { return l.ControlLost(now) }
func evTick(l *Life, now time.Time) []Effect     { return l.Tick(now) }
func evTreeGone(l *Life, _ time.Time) []Effect   { return l.TreeGone() }
func evExit0(l *Life, now time.Time) []Effect    { return l.Exited(now, Exit{}) }
func evExit7(l *Life, now time.Time) []Effect    { return l.Exited(now, Exit{Code: 7}) }
func evExit76(l *Life, now time.Time) []Effect   { return l.Exited(now, Exit{Code: 76}) }
func evSegv(l *Life, now time.Time) []Effect     { return evSignal(syscall.SIGSEGV, false)(l, now) }
func evKilled(l *Life, now time.Time) []Effect   { return evSignal(syscall.SIGKILL, false)(l, now) }
func evTermed(l *Life, now time.Time) []Effect   { return evSignal(syscall.SIGTERM, false)(l, now) }
func evOOM(l *Life, now time.Time) []Effect      { return evSignal(syscall.SIGKILL, true)(l, now) }
func evRejected(l *Life, now time.Time) []Effect { return l.RejectSession(now, "broken pipe") }

func evSignal(s syscall.Signal, oom bool) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect {
		return l.Exited(now, Exit{Code: -1, Signal: s, OOM: oom})
	}
}

func evSession(timeoutMS int) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect {
		effects, err := l.GiveSession(now, &Session{ID: "s", Timeout: time.Duration(timeoutMS) * time.Millisecond})
		if err != nil {
			return nil
		}
		return effects
	}
}

func evKill(cause Cause, graceMS int) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect {
		return l.Kill(now, cause, time.Duration(graceMS)*time.Millisecond)
	}
}

// live has a life go through moments and checks each.
func live(t *testing.T, l *Life, moments []moment) {
	t.Helper()
	for i, s := range moments {
		if got := s.event(l, at(s.at)); !reflect.DeepEqual(got, s.want) {
			t.Fatalf("step %d: effects %v, want %v", i, got, s.want)
		}
		if where(l) != s.where {
			t.Fatalf("step %d: it is %s, want %s", i, where(l), s.where)
		}
		wake := time.Time{}
		if s.wake > 0 {
			wake = at(s.wake)
		}
		if !l.Wake().Equal(wake) {
			t.Fatalf("step %d: wakes at %v, want %v", i, l.Wake().Sub(at(0)), wake.Sub(at(0)))
		}
	}
}

func TestLife(t *testing.T) {
	start := Start{
		StartTimeout: 1000 * time.Millisecond, KillGrace: 200 * time.Millisecond, ReapTimeout: 500 * time.Millisecond,
	}
	warmUp := []moment{
		{0, evForked, nil, launching, 1000},
		{1, evExec, []Effect{EffectStarted}, warming, 1000},
		{20, evReady, []Effect{EffectReady}, spare, 0},
	}
	coldUp := []moment{
		{1, evForked, nil, launching, 300},
		{2, evExec, []Effect{EffectStarted}, busy, 300},
	}
	cases := []struct {
		name    string
		cold    bool // with a session of 300 ms
		steps   []moment
		cause   Cause
		failure string
	}{
		{name: "a cold session that ends in order", cold: true, steps: append(coldUp,
			moment{50, evExit0, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCompleted},
		{name: "a warm session that ends in order", steps: append(warmUp,
			moment{100, evSession(400), []Effect{EffectHandOver}, busy, 500},
			moment{300, evExit0, killSweep, killing, 800},
			moment{301, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCompleted},
		{name: "a session without a deadline", steps: append(warmUp,
			moment{100, evSession(0), []Effect{EffectHandOver}, busy, 0},
			moment{9_999_999, evTick, nil, busy, 0},
			moment{9_999_999, evExit7, killSweep, killing, 10_000_499},
			moment{9_999_999, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCrashExit},
		{name: "a crash by a signal", cold: true, steps: append(coldUp,
			moment{50, evSegv, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCrashSignal},
		{name: "a client that broke the protocol", cold: true, steps: append(coldUp,
			moment{50, evExit76, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseProtocolError},
		{name: "SIGKILL from the kernel for lack of memory", cold: true, steps: append(coldUp,
			moment{50, evOOM, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseOOM},
		{name: "SIGKILL from a stranger", cold: true, steps: append(coldUp,
			moment{50, evKilled, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCrashSignal},
		{name: "a deadline, and the worker ends on SIGTERM", cold: true, steps: append(coldUp,
			moment{299, evTick, nil, busy, 300},
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
			moment{310, evExit0, killSweep, killing, 810},
			moment{311, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout},
		{name: "a deadline, and the worker ignores SIGTERM", cold: true, steps: append(coldUp,
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
			moment{500, evTick, killSweep, killing, 1000},
			moment{501, evTreeGone, nil, killing, 1000},
			moment{502, evKilled, killSweep, killing, 1000},
			moment{503, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout},
		{name: "a worker that outlives SIGKILL, then ends", cold: true, steps: append(coldUp,
			moment{100, evKill(CauseClientGone, 0), killSweep, killing, 600},
			moment{600, evTick, []Effect{EffectUnkillable}, fault, 0},
			moment{700, evTick, nil, fault, 0},
			moment{9000, evKilled, killSweep, fault, 0},
			moment{9001, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseClientGone},
		{name: "an orphan that outlives SIGKILL after an orderly end", cold: true, steps: append(coldUp,
			moment{100, evExit0, killSweep, killing, 600},
			moment{600, evTick, []Effect{EffectUnkillable}, fault, 0},
			moment{9001, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCompleted},
		{name: "a kill with grace, shortened, not lengthened", cold: true, steps: append(coldUp,
			moment{100, evKill(CauseClientGone, 100), []Effect{EffectTerm}, terminating, 200},
			moment{110, evKill(CauseKilledDrain, 500), nil, terminating, 200},
			moment{120, evKill(CauseKilledDrain, 10), nil, terminating, 130},
			moment{125, evKill(CauseKilledDrain, 0), killSweep, killing, 625},
			moment{126, evKill(CauseKilledDrain, 0), nil, killing, 625},
			moment{130, evTermed, killSweep, killing, 625},
			moment{131, evTreeGone, []Effect{EffectClean}, cleaning, 0},
			moment{132, evKill(CauseKilledDrain, 0), nil, cleaning, 0},
		), cause: CauseClientGone},
		{name: "a kill before the process exists", cold: true, steps: []moment{
			{0, evKill(CauseKilledDrain, 100), nil, forking, 0},
			{1, evKill(CauseClientGone, 50), nil, forking, 0},
			{5, evForked, []Effect{EffectTerm}, terminating, 55},
			{6, evTermed, nil, terminating, 55},
			{7, evExec, killSweep, killing, 507},
			{8, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseKilledDrain},
		{name: "a deadline before the process exists", cold: true, steps: []moment{
			{300, evTick, nil, forking, 0},
			{400, evForked, []Effect{EffectTerm}, terminating, 600},
			{401, evExec, nil, terminating, 600},
			{402, evTermed, killSweep, killing, 902},
			{403, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseTimeout},
		{name: "a program that cannot be run", cold: true, steps: []moment{
			{0, evForked, nil, launching, 300},
			{1, evNoExec, nil, launching, 300},
			{2, evExit7, killSweep, killing, 502},
			{3, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed, failure: "no such program"},
		{name: "a program that cannot be run, and dies first", steps: []moment{
			{0, evForked, nil, launching, 1000},
			{1, evExit7, nil, launching, 1000},
			{1, evTreeGone, nil, launching, 1000},
			{2, evNoExec, killSweep, killing, 502},
			{3, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed, failure: "no such program"},
		{name: "a program that ends before it is known to run", cold: true, steps: []moment{
			{0, evForked, nil, launching, 300},
			{1, evExit0, nil, launching, 300},
			{1, evKill(CauseClientGone, 0), nil, launching, 300},
			{2, evExec, []Effect{EffectStarted, EffectKill, EffectSweep}, killing, 502},
			{3, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseCompleted},
		{name: "a warm worker that is ready before it is known to run", steps: []moment{
			{0, evForked, nil, launching, 1000},
			{1, evReady, nil, launching, 1000},
			{2, evExec, []Effect{EffectStarted, EffectReady}, spare, 0},
			{3, evReady, nil, spare, 0},
			{4, evExit0, killSweep, killing, 504},
			{5, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed},
		{name: "a warm worker that is not ready in time", steps: append(warmUp[:2:2],
			moment{1000, evTick, []Effect{EffectTerm}, terminating, 1200},
			moment{1001, evReady, nil, terminating, 1200},
			moment{1200, evTick, killSweep, killing, 1700},
			moment{1201, evKilled, killSweep, killing, 1700},
			moment{1202, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseStartFailed, failure: "not ready within 1s"},
		{name: "a spare that closes its socket and lives on", steps: append(warmUp,
			moment{50, evLost, nil, spare, 1050},
			moment{60, evSession(100), nil, spare, 1050},
			moment{1050, evTick, []Effect{EffectTerm}, terminating, 1250},
			moment{1060, evTermed, killSweep, killing, 1560},
			moment{1061, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseStartFailed, failure: "closed its control socket"},
		{name: "a socket that is closed before the program is known to run", steps: []moment{
			{0, evForked, nil, launching, 1000},
			{1, evReady, nil, launching, 1000},
			{2, evLost, nil, launching, 1000},
			{3, evExec, []Effect{EffectStarted, EffectReady}, spare, 1002},
			{1002, evTick, []Effect{EffectTerm}, terminating, 1202},
			{1003, evTermed, killSweep, killing, 1503},
			{1004, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed, failure: "closed its control socket"},
		{name: "a spare that crashes: its socket goes first", steps: append(warmUp,
			moment{50, evLost, nil, spare, 1050},
			moment{51, evOOM, killSweep, killing, 551},
			moment{52, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseOOM},
		{name: "the control socket ends with the hand-over", steps: append(warmUp,
			moment{50, evSession(100), []Effect{EffectHandOver}, busy, 150},
			moment{51, evLost, nil, busy, 150},
			moment{60, evSession(500), nil, busy, 150},
			moment{61, evExit0, killSweep, killing, 561},
			moment{62, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCompleted},
		{name: "a hand-over that fails", steps: append(warmUp,
			moment{50, evSession(100), []Effect{EffectHandOver}, busy, 150},
			moment{51, evRejected, killSweep, killing, 551},
			moment{52, evRejected, nil, killing, 551},
			moment{53, evKilled, killSweep, killing, 551},
			moment{54, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseStartFailed, failure: "broken pipe"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var session *Session
			if c.cold {
				session = &Session{ID: "s", Timeout: 300 * time.Millisecond}
			}
			l := NewLife(at(0), start, session)
			live(t, l, c.steps)
			r := l.Report(at(99_999_999), []byte("out"))
			if r.Cause != c.cause || r.Error != c.failure {
				t.Errorf("report says %q, %q; want %q, %q", r.Cause, r.Error, c.cause, c.failure)
			}
		})
	}
}

func TestLifeFillsInDefaults(t *testing.T) {
	l := NewLife(at(0), Start{}, nil)
	if l.start.StartTimeout != DefaultStartTimeout || l.start.ReapTimeout != DefaultReapTimeout {
		t.Errorf("defaults are %v and %v", l.start.StartTimeout, l.start.ReapTimeout)
	}
}

func TestReportMeasuresTheSession(t *testing.T) {
	l := NewLife(at(0), Start{}, nil)
	l.Forked(at(1))
	l.ExecResult(at(2), "")
	l.SignalReady(at(3))
	if _, err := l.GiveSession(at(1000), &Session{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	if r := l.Report(at(1500), nil); r.Wall != 500*time.Millisecond || r.Cause != CauseUnkillable || r.Code != -1 {
		t.Errorf("while it lives: wall %v, cause %v, code %d", r.Wall, r.Cause, r.Code)
	}
	l.Exited(at(3000), Exit{Code: 3, UserTime: 1, SysTime: 2, MaxRSS: 4096})
	l.TreeGone()
	r := l.Report(at(9000), nil)
	want := Report{
		Cause: CauseCrashExit, Code: 3, Wall: 2 * time.Second, UserTime: 1, SysTime: 2, MaxRSS: 4096,
	}
	if !reflect.DeepEqual(*r, want) {
		t.Errorf("report %+v, want %+v", *r, want)
	}
}

func TestSessionIsRefusedWithAReason(t *testing.T) {
	fresh := func() *Life { return NewLife(at(0), Start{}, nil) }
	spareLife := func() *Life {
		l := fresh()
		l.Forked(at(1))
		l.ExecResult(at(2), "")
		l.SignalReady(at(3))
		return l
	}
	lost := spareLife()
	lost.ControlLost(at(3))
	taken := spareLife()
	_, _ = taken.GiveSession(at(3), &Session{ID: "first"})
	for want, l := range map[string]*Life{"not ready": fresh(), "closed its control": lost, `session "first" already`: taken} {
		if _, err := l.GiveSession(at(4), &Session{ID: "s"}); err == nil || !strings.Contains(err.Error(), want) {
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
		var session *Session
		if random.IntN(2) == 0 {
			session = &Session{ID: "s", Timeout: time.Duration(random.IntN(300)) * time.Millisecond}
		}
		l := NewLife(at(0), Start{KillGrace: time.Duration(random.IntN(3)) * 100 * time.Millisecond}, session)
		now, cleans := 0, 0
		do := func(event func(*Life, time.Time) []Effect) {
			for _, e := range event(l, at(now)) {
				if e == EffectClean {
					cleans++
				}
				if where(l) == cleaning && e != EffectClean {
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
				do(evKill(CauseClientGone, random.IntN(200)))
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
		switch where(l) {
		case warming, terminating:
			bounded = true
		case spare:
			bounded = l.lost
		case busy:
			bounded = l.session.Timeout > 0
		case killing:
			bounded = true
		}
		if bounded && l.Wake().IsZero() {
			t.Fatalf("%s, lost %v: nothing is due", where(l), l.lost)
		}
		do(evKill(CauseKilledDrain, 0))
		if !reaped {
			do(evKilled)
		}
		do(evTreeGone)
		if where(l) != cleaning || cleans != 1 {
			t.Fatalf("%s after %d cleanings", where(l), cleans)
		}
		if r := l.Report(at(now), nil); r.Cause == "" || r.Cause == CauseUnkillable {
			t.Fatalf("cause %q", r.Cause)
		}
	}
}
