package supervise

import (
	"syscall"
	"testing"
	"time"
)

func evBeat(l *Life, now time.Time) []Effect     { l.Beat(now); return nil }
func evProtocol(l *Life, _ time.Time) []Effect   { l.ProtocolError(); return nil }
func evNext(l *Life, _ time.Time) []Effect       { l.NextSession(); return nil }
func evExceeded(l *Life, now time.Time) []Effect { return l.Exceeded(now, LimitWorkDir, "") }

func evTrip(l *Life, now time.Time) []Effect { return l.Trip(now) }

func evExtend(ms int) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect {
		l.Extend(now, time.Duration(ms)*time.Millisecond)
		return nil
	}
}

func evPhase(p Phase) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect { l.SetPhase(now, p); return nil }
}

func evDrain(byMS int) func(*Life, time.Time) []Effect {
	return func(l *Life, now time.Time) []Effect { return l.Drain(now, at(byMS)) }
}

var (
	killSweep = []Effect{EffectKill, EffectSweep}
	longUp    = []moment{
		{0, evForked, nil, launching, 1000},
		{1, evExec, []Effect{EffectStarted}, warming, 1000},
		{20, evReady, []Effect{EffectReady}, waiting, 0},
	}
)

// after appends moments to a beginning that tests share.
func after(beginning []moment, moments ...moment) []moment {
	return append(beginning[:len(beginning):len(beginning)], moments...)
}

func TestLongLivedLife(t *testing.T) {
	start := Start{
		LongLived: true, StartTimeout: 1000 * time.Millisecond, KillGrace: 200 * time.Millisecond, ReapTimeout: 500 * time.Millisecond,
	}
	cases := []struct {
		name  string
		steps []moment
		cause Cause
		limit Limit
	}{
		{name: "serves one session after another", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{200, evReady, []Effect{EffectEnded}, waiting, 0},
			moment{200, evSession(300), nil, waiting, 0}, // the last one is not reported yet
			moment{201, evNext, nil, waiting, 0},
			moment{300, evSession(0), []Effect{EffectHandOver}, busy, 0},
			moment{9000, evReady, []Effect{EffectEnded}, waiting, 0},
		), cause: CauseCompleted},
		{name: "says that its client broke the protocol, of that session only", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{150, evProtocol, nil, busy, 440},
			moment{151, evReady, []Effect{EffectEnded}, waiting, 0},
		), cause: CauseProtocolError},
		{name: "has itself ended by its watchdog at the deadline, with status 0", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{400, evExit0, killSweep, killing, 900},
			moment{401, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout, limit: LimitSession},
		{name: "has itself ended by its watchdog's backstop", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{425, evKilled, killSweep, killing, 925},
			moment{426, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout, limit: LimitSession},
		{name: "has a watchdog that failed, and is killed without being asked", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{440, evTick, killSweep, killing, 940},
			moment{441, evKilled, killSweep, killing, 940},
			moment{442, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout, limit: LimitSession},
		{name: "crashes before the deadline", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{398, evExit7, killSweep, killing, 898},
			moment{399, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCrashExit},
		{name: "dies between sessions", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{200, evReady, []Effect{EffectEnded}, waiting, 0},
			moment{201, evNext, nil, waiting, 0},
			moment{5000, evExit0, killSweep, killing, 5500},
			moment{5001, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseStartFailed},
		{name: "drains: its session may finish, and is the last", steps: after(longUp,
			moment{100, evSession(0), []Effect{EffectHandOver}, busy, 0},
			moment{150, evDrain(1000), nil, draining, 1000},
			moment{400, evReady, []Effect{EffectEnded, EffectTerm}, terminating, 600},
			moment{400, evNext, nil, terminating, 600},
			moment{410, evExit0, killSweep, killing, 910},
			moment{411, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseKilledDrain},
		{name: "drains too long", steps: after(longUp,
			moment{100, evSession(0), []Effect{EffectHandOver}, busy, 0},
			moment{150, evDrain(1000), nil, draining, 1000},
			moment{1000, evTick, []Effect{EffectTerm}, terminating, 1200},
			moment{1010, evTermed, killSweep, killing, 1510},
			moment{1011, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseKilledDrain},
		{name: "drains without a session", steps: after(longUp,
			moment{150, evDrain(1000), []Effect{EffectTerm}, terminating, 350},
			moment{160, evExit0, killSweep, killing, 660},
			moment{161, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseKilledDrain},
		{name: "closes its control socket in a session, which goes on", steps: after(longUp,
			moment{100, evSession(300), []Effect{EffectHandOver}, busy, 440},
			moment{150, evLost, nil, busy, 440},
			moment{200, evExit0, killSweep, killing, 700},
			moment{201, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseCompleted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := NewLife(at(0), start, nil)
			live(t, l, c.steps)
			if r := l.Report(at(99_999), nil); r.Cause != c.cause || r.Limit != c.limit {
				t.Errorf("report says %q, limit %q; want %q, %q", r.Cause, r.Limit, c.cause, c.limit)
			}
		})
	}
}

func TestTheReportOfASessionThatItsWorkerSurvives(t *testing.T) {
	l := NewLife(at(0), Start{LongLived: true}, nil)
	live(t, l, []moment{
		{0, evForked, nil, launching, 30_000},
		{1, evExec, []Effect{EffectStarted}, warming, 30_000},
		{20, evReady, []Effect{EffectReady}, waiting, 0},
		{100, evSession(0), []Effect{EffectHandOver}, busy, 0},
		{350, evReady, []Effect{EffectEnded}, waiting, 0},
	})
	r := l.Report(at(9999), []byte("hello"))
	if r.Cause != CauseCompleted || r.Code != 0 || r.Wall != 250*time.Millisecond || string(r.Output) != "hello" {
		t.Errorf("report %+v", r)
	}
}

func TestHeartbeatsPhasesAndOtherBounds(t *testing.T) {
	start := Start{
		StartTimeout: 1000 * time.Millisecond, KillGrace: 200 * time.Millisecond, ReapTimeout: 500 * time.Millisecond,
		Heartbeat: 100 * time.Millisecond, Budgets: map[Phase]time.Duration{PhaseLoad: 50 * time.Millisecond},
	}
	quit := start
	quit.Dump = syscall.SIGQUIT
	coldUp := []moment{
		{1, evForked, nil, launching, 300},
		{2, evExec, []Effect{EffectStarted}, busy, 300},
	}
	end := func(ms int) []moment {
		return []moment{
			{ms, evTermed, killSweep, killing, ms + 500},
			{ms + 1, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}
	}
	cases := []struct {
		name    string
		start   Start
		warm    bool
		steps   []moment
		cause   Cause
		limit   Limit
		failure string
	}{
		{name: "a worker that never beats is not asked to", start: start, steps: append(after(coldUp,
			moment{299, evTick, nil, busy, 300},
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
		), end(310)...), cause: CauseTimeout, limit: LimitSession},
		{name: "a loop that has beaten and falls silent", start: start, steps: append(after(coldUp,
			moment{10, evBeat, nil, busy, 110},
			moment{60, evBeat, nil, busy, 160},
			moment{160, evTick, []Effect{EffectTerm}, terminating, 360},
			moment{161, evBeat, nil, terminating, 360},
		), end(170)...), cause: CauseTimeout, limit: LimitHeartbeat, failure: "no heartbeat within 100ms"},
		{name: "a native section has its own time", start: start, steps: append(after(coldUp,
			moment{10, evBeat, nil, busy, 110},
			moment{20, evExtend(200), nil, busy, 220},
			moment{30, evExtend(1), nil, busy, 220}, // never shorter than asked for
			moment{220, evTick, []Effect{EffectTerm}, terminating, 420},
		), end(230)...), cause: CauseTimeout, limit: LimitHeartbeat, failure: "no heartbeat within 100ms"},
		{name: "heartbeats rest until the next one", start: start, steps: append(after(coldUp,
			moment{10, evBeat, nil, busy, 110},
			moment{20, evExtend(0), nil, busy, 300},
			moment{250, evBeat, nil, busy, 300},
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
		), end(310)...), cause: CauseTimeout, limit: LimitSession},
		{name: "a worker that asks to be ended", start: start, steps: append(after(coldUp,
			moment{10, evTrip, []Effect{EffectTerm}, terminating, 210},
			moment{11, evTrip, nil, terminating, 210},
		), end(20)...), cause: CauseTimeout, limit: LimitHeartbeat, failure: "asked to be ended (WATCHDOG=trigger)"},
		{name: "a phase over its budget", start: start, steps: append(after(coldUp,
			moment{10, evPhase(PhaseRun), nil, busy, 300},
			moment{20, evPhase(PhaseLoad), nil, busy, 70},
			moment{30, evPhase(""), nil, busy, 300},
			moment{100, evPhase(PhaseLoad), nil, busy, 150},
			moment{150, evTick, []Effect{EffectTerm}, terminating, 350},
		), end(160)...), cause: CauseTimeout, limit: LimitLoad, failure: `phase "load" took over 50ms`},
		{name: "a phase outside of a session is none", start: start, warm: true, steps: []moment{
			{0, evForked, nil, launching, 1000},
			{1, evPhase(PhaseLoad), nil, launching, 1000},
			{2, evExit0, nil, launching, 1000},
			{3, evExec, []Effect{EffectStarted, EffectKill, EffectSweep}, killing, 503},
			{4, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed},
		{name: "a start that asks for more time, up to ten times as much", start: start, warm: true, steps: []moment{
			{0, evForked, nil, launching, 1000},
			{900, evExtend(500), nil, launching, 1400},
			{1000, evExtend(50_000), nil, launching, 10_000},
			{1001, evExec, []Effect{EffectStarted}, warming, 10_000},
			{10_000, evTick, []Effect{EffectTerm}, terminating, 10_200},
			{10_001, evTermed, killSweep, killing, 10_501},
			{10_002, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		}, cause: CauseStartFailed, limit: LimitStart, failure: "not ready within 10s"},
		{name: "too much in the work directory", start: start, steps: after(coldUp,
			moment{50, evExceeded, killSweep, killing, 550},
			moment{51, evExceeded, nil, killing, 550},
			moment{52, evKilled, killSweep, killing, 550},
			moment{53, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseOOM, limit: LimitWorkDir},
		{name: "memory ran out", start: start, steps: after(coldUp,
			moment{50, evOOM, killSweep, killing, 550},
			moment{51, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseOOM, limit: LimitMemory},
		{name: "a worker that ignores SIGTERM is asked for its stacks before it is killed", start: quit, steps: after(coldUp,
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
			moment{500, evTick, []Effect{EffectDump}, terminating, 2500},
			moment{2500, evTick, killSweep, killing, 3000},
			moment{2501, evKilled, killSweep, killing, 3000},
			moment{2502, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout, limit: LimitSession},
		{name: "stacks that come in time", start: quit, steps: after(coldUp,
			moment{300, evTick, []Effect{EffectTerm}, terminating, 500},
			moment{500, evTick, []Effect{EffectDump}, terminating, 2500},
			moment{520, evExit7, killSweep, killing, 1020},
			moment{521, evTreeGone, []Effect{EffectClean}, cleaning, 0},
		), cause: CauseTimeout, limit: LimitSession},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var session *Session
			if !c.warm {
				session = &Session{ID: "s", Timeout: 300 * time.Millisecond}
			}
			l := NewLife(at(0), c.start, session)
			live(t, l, c.steps)
			if r := l.Report(at(99_999), nil); r.Cause != c.cause || r.Limit != c.limit || r.Error != c.failure {
				t.Errorf("report says %q, limit %q, %q; want %q, %q, %q", r.Cause, r.Limit, r.Error, c.cause, c.limit, c.failure)
			}
		})
	}
}
