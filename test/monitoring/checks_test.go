//go:build linux

package monitoring

import (
	"maps"
	"math"

	"rpcpool.dev/internal/tune"
	"rpcpool.dev/sidecar/supervise"
)

// answer is what a query returned.
type answer []sample

// by returns the values by a label, which must tell the samples apart.
func (a answer) by(label string) map[string]float64 {
	values := map[string]float64{}
	for _, s := range a {
		if _, twice := values[s.Labels[label]]; twice {
			return nil
		}
		values[s.Labels[label]] = s.Value
	}
	return values
}

// one returns the only value; -1: there are several, or none.
func (a answer) one() float64 {
	if len(a) != 1 {
		return -1
	}
	return a[0].Value
}

// check is what an answer must be, of the job that was seen. With peak it is the
// highest that the answer has been so far.
type check struct {
	peak  bool
	holds func(a answer, job tune.Summary) bool
}

// ends are the sessions of a job by cause.
func ends(job tune.Summary) map[string]float64 {
	counts := map[string]float64{
		string(supervise.CauseCompleted):   float64(job.Outcomes[tune.OutcomeOK] + job.Outcomes[tune.OutcomeWrong]),
		string(supervise.CauseCrashSignal): float64(job.Outcomes[tune.OutcomeCrash]),
		string(supervise.CauseTimeout):     float64(job.Outcomes[tune.OutcomeTimeout]),
	}
	maps.DeleteFunc(counts, func(_ string, n float64) bool { return n == 0 })
	return counts
}

// within tells whether a value lies between shares of another. What a rate sees
// of a series begins with its first sample, so it sees less than there was.
func within(value, low, high, of float64) bool { return value >= low*of && value <= high*of }

// late compares timeouts: on a busy machine a session's time can be over when its
// client has just had the answer, and not yet said goodbye.
func late(counted, seen float64) bool {
	const few = 0.1 * trials
	return counted >= seen && counted <= seen+few
}

// checks are by the question of the page.
var checks = map[string]check{
	"How much of each key is in use?": {peak: true, holds: func(a answer, _ tune.Summary) bool {
		return maps.Equal(a.by("key"), map[string]float64{"cpu": 1})
	}},
	"How long do requests wait, 99 of 100?": {holds: func(a answer, job tune.Summary) bool {
		const coarse = 6 // from one bucket to the next
		return within(a.one(), 0, coarse, job.WaitMaxS) && a.one() > 0
	}},
	"How many requests wait, and for what?": {peak: true, holds: func(a answer, _ tune.Summary) bool {
		n := a.by("key")["cpu"]
		return n >= 1 && n <= parallel
	}},
	"How many sessions are there a minute?": {holds: func(a answer, job tune.Summary) bool {
		return within(5*a.by("key")["cpu"], 0.5, 1.1, float64(job.Trials))
	}},
	"How have all sessions ended?": {holds: func(a answer, job tune.Summary) bool {
		got, want := a.by("reason"), ends(job)
		const completed, timeout, crash = string(supervise.CauseCompleted), string(supervise.CauseTimeout), string(supervise.CauseCrashSignal)
		return len(a) <= 3 && got[crash] == want[crash] && got[completed]+got[timeout] == want[completed]+want[timeout] &&
			late(got[timeout], want[timeout])
	}},
	"Which share of the trials ends badly, by cause?": {holds: func(a answer, job tune.Summary) bool {
		for cause, n := range ends(job) {
			share, there := a.by("reason")[cause]
			if cause == string(supervise.CauseCompleted) && there {
				return false
			}
			const few = 5 // of which a scrape may see the first only when it is over
			if cause != string(supervise.CauseCompleted) && n >= few && math.Abs(share-n/float64(job.Trials)) > 0.1 {
				return false
			}
		}
		return len(a) > 0
	}},
	"How long is a session, by how it ends?": {holds: func(a answer, job tune.Summary) bool {
		got := a.by("end_reason")
		timeout, some := got["timeout"]
		return len(got) == len(ends(job)) && got["completed"] > 0 && (!some || math.IsNaN(timeout) || got["completed"] <= timeout)
	}},
	"How many devices were in use, on average?": {holds: func(a answer, job tune.Summary) bool {
		return within(3600*a.by("key")["cpu"], 0.3, 1.1, servers*job.WallS)
	}},
	"How long is a device away when its worker has ended, 99 of 100?": {holds: func(a answer, _ tune.Summary) bool {
		seconds := a.by("key")["cpu"]
		return seconds > 0 && seconds < 30
	}},
	"Which limits do workers run into?": {holds: func(a answer, job tune.Summary) bool {
		return late(a.by("limit")["session"], ends(job)["timeout"])
	}},
	"What becomes of grants?": {holds: func(a answer, job tune.Summary) bool {
		return maps.Equal(a.by("result"), map[string]float64{"used": float64(job.Trials), "expired": 0, "returned": 0, "unknown": 0})
	}},
	"Who knocks at the door in vain?": {holds: func(a answer, _ tune.Summary) bool {
		return maps.Equal(a.by("result"), map[string]float64{"bad-magic": strangers})
	}},
	"How much do clients send and fetch?": {holds: func(a answer, _ tune.Summary) bool {
		got := a.by("direction")
		return len(got) == 2 && got["received"] > got["sent"] && got["sent"] > 0
	}},
	"Which pools lack servers?": {holds: func(a answer, _ tune.Summary) bool {
		return maps.Equal(a.by("pool"), map[string]float64{"rolls": 0}) && a[0].Labels["namespace"] == "tuning"
	}},
	"Which rollouts wait for sessions to end?": {holds: func(a answer, _ tune.Summary) bool {
		return maps.Equal(a.by("pool"), map[string]float64{"rolls": 1})
	}},
}
