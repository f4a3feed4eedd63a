package promtest

import (
	"maps"
	"math"
	"time"
)

// Check is what an answer must be.
type Check struct {
	// Peak: the highest that the answer has been so far is asked for.
	Peak  bool
	holds func(a Answer, s Story) bool
}

// Expr is what to ask for.
func (c Check) Expr(expr string) string {
	if c.Peak {
		return "max_over_time((" + expr + ")[5m:1s])"
	}
	return expr
}

// Holds tells whether an answer is right.
func (c Check) Holds(a Answer, s Story) bool { return c.holds(a, s) }

// coarse is how far a quantile can be from the truth: from one bucket to the next.
const coarse = 6

// quick is how soon a worker is ready, in seconds.
var quick = Range{0.0001, 30}

// OfQueries are by the question of the page.
func OfQueries() map[string]Check {
	return map[string]Check{
		"How much of each key is in use?": {Peak: true, holds: func(a Answer, s Story) bool {
			return a.by("key")[s.Key] == 1
		}},
		"How long do requests wait, 99 of 100?": {holds: func(a Answer, s Story) bool {
			return a.one() > 0 && a.one() <= coarse*s.Waited
		}},
		"How many requests wait, and for what?": {Peak: true, holds: func(a Answer, s Story) bool {
			return Range{1, s.Queued}.has(a.by("key")[s.Key])
		}},
		"How many sessions are there a minute?": {holds: func(a Answer, s Story) bool {
			return about(5*a.by("key")[s.Key], s.sessions())
		}},
		"How have all sessions ended?": {holds: func(a Answer, s Story) bool {
			return s.counted(a.of("key", s.Key).by("reason"), same)
		}},
		"Which share of the trials ends badly, by cause?": {holds: func(a Answer, s Story) bool {
			shares := a.of("key", s.Key).by("reason")
			for cause, n := range s.ends() {
				share, there := shares[cause]
				if n, most := 0.9*n, 1.1*n+s.Late; there == (cause == completed) || there && !(Range{n, most}).has(share*s.sessions()) {
					return false
				}
			}
			return true
		}},
		"How long is a session, by how it ends?": {holds: func(a Answer, s Story) bool {
			got := a.of("key", s.Key).by("end_reason")
			long, some := got[timeout]
			const few = 5 // of which a device's first, which has no series before it, may be all
			if s.ends()[completed]-s.Late < few {
				return len(got) > 0
			}
			return s.Length.has(got[completed]) && (!some || math.IsNaN(long) || got[completed] <= long)
		}},
		"How many devices were in use, on average?": {holds: func(a Answer, s Story) bool {
			return s.Busy.has(time.Since(s.Since).Seconds() * a.by("key")[s.Key])
		}},
		"How long is a device away when its worker has ended, 99 of 100?": {holds: func(a Answer, s Story) bool {
			return quick.has(a.by("key")[s.Key])
		}},
		"Which limits do workers run into?": {holds: func(a Answer, s Story) bool {
			n, want := a.of("key", s.Key).by("limit")["session"], s.ends()[timeout]
			return n >= want && n <= want+s.Late
		}},
		"What becomes of grants?": {holds: func(a Answer, s Story) bool {
			return maps.Equal(a.by("result"), map[string]float64{"used": s.sessions(), "expired": 0, "returned": 0, "unknown": 0})
		}},
		"Who knocks at the door in vain?": {holds: func(a Answer, s Story) bool {
			return maps.Equal(a.of("key", s.Key).by("result"), map[string]float64{"bad-magic": s.Strangers})
		}},
		"How much do clients send and fetch?": {holds: func(a Answer, s Story) bool { return traffic(a.of("key", s.Key)) }},
		"Which pools lack servers?": {holds: func(a Answer, s Story) bool {
			return s.tellsOf(a, func(p Pool) (float64, bool) { return 0, p.NotReady })
		}},
		"Which rollouts wait for sessions to end?": {Peak: true, holds: func(a Answer, s Story) bool {
			return s.tellsOf(a, func(p Pool) (float64, bool) { return p.Draining, p.Draining > 0 })
		}},
	}
}

// traffic: of what there is here, clients send more than they fetch.
func traffic(a Answer) bool {
	bytes := a.by("direction")
	return len(bytes) == 2 && bytes["received"] > bytes["sent"] && bytes["sent"] > 0
}

// OfRecords are by the name of the series.
func OfRecords() map[string]Check {
	checks := map[string]Check{
		"namespace_pool:rpcpool_pool_servers_offered:sum": {holds: func(a Answer, s Story) bool {
			return s.tellsOf(a, func(p Pool) (float64, bool) { return p.Offered, true })
		}},
		"namespace_pool:rpcpool_pool_servers_busy:ratio": {Peak: true, holds: func(a Answer, s Story) bool {
			return s.tellsOf(a, func(p Pool) (float64, bool) { return p.Used, p.Offered > 0 })
		}},
		"namespace_pool:rpcpool_pool_servers_missing:sum": {holds: func(a Answer, s Story) bool {
			return s.tellsOf(a, func(p Pool) (float64, bool) { return p.Missing, true })
		}},
	}
	maps.Copy(checks, ofTrackers())
	maps.Copy(checks, ofServers())
	return checks
}

// ofTrackers are about the tracker of the story's namespace.
func ofTrackers() map[string]Check {
	checks := map[string]Check{
		"namespace_tracker_key:rpcpool_servers_offered:sum": {holds: func(a Answer, s Story) bool {
			return a.by("key")[s.Key] == s.Servers
		}},
		"namespace_tracker_key:rpcpool_servers_busy:ratio": {Peak: true, holds: func(a Answer, s Story) bool {
			return a.by("key")[s.Key] == 1
		}},
		"namespace_tracker_outcome:rpcpool_requests:rate5m": {holds: func(a Answer, s Story) bool {
			return about(inWindow(a.by("outcome")["granted"]), s.sessions())
		}},
		"namespace_tracker:rpcpool_request_wait_seconds:p50_rate5m": {holds: func(a Answer, s Story) bool {
			return a.one() > 0 && a.one() <= coarse*s.Waited
		}},
		"namespace_tracker:rpcpool_request_wait_seconds:p99_rate5m": {holds: func(a Answer, s Story) bool {
			return Range{s.Waited / coarse, s.Waited * coarse}.has(a.one())
		}},
		"namespace_tracker:rpcpool_handoffs_expired:ratio_rate15m": {holds: func(a Answer, _ Story) bool { return a.one() == 0 }},
	}
	for name, c := range checks {
		checks[name] = Check{c.Peak, func(a Answer, s Story) bool { return c.holds(a.of("namespace", s.Namespace), s) }}
	}
	return checks
}

// ofServers are about the story's servers.
func ofServers() map[string]Check {
	checks := map[string]Check{
		"namespace_pool_key_reason:rpcpool_session_ends:rate5m": {holds: func(a Answer, s Story) bool {
			got := a.by("reason")
			for cause, rate := range got {
				got[cause] = inWindow(rate)
			}
			return s.counted(got, about)
		}},
		"namespace_pool_key:rpcpool_session_ends:rate5m": {holds: func(a Answer, s Story) bool {
			return about(inWindow(a.one()), s.sessions())
		}},
		"namespace_pool_key:rpcpool_session_crashes:ratio_rate5m": {holds: func(a Answer, s Story) bool {
			return about(a.one(), crashes(s.ends())/s.sessions())
		}},
		"namespace_pool_key_pod_instance:rpcpool_session_crashes:ratio_increase30m": {holds: func(a Answer, s Story) bool {
			got := a.by("pod")
			for pod, ends := range s.Devices {
				const sure = 12 // 10 are enough, by Prometheus' count
				if total(ends) >= sure && !about(got[pod], crashes(ends)/total(ends)) {
					return false
				}
				delete(got, pod)
			}
			return len(got) == 0
		}},
		"namespace_pool_key:rpcpool_session_duration_seconds:p50_rate5m": {holds: func(a Answer, s Story) bool { return s.Length.has(a.one()) }},
		"namespace_pool_key:rpcpool_session_duration_seconds:p99_rate5m": {holds: func(a Answer, s Story) bool { return s.Longest.has(a.one()) }},
		"namespace_pool_key:rpcpool_worker_ready_seconds:p99_rate5m":     {holds: func(a Answer, _ Story) bool { return quick.has(a.one()) }},
		"namespace_pool_key_direction:rpcpool_session_bytes:rate5m":      {holds: func(a Answer, _ Story) bool { return traffic(a) }},
	}
	for name, c := range checks {
		checks[name] = Check{c.Peak, func(a Answer, s Story) bool {
			return c.holds(a.of("namespace", s.Namespace).of("pool", s.Pool).of("key", s.Key), s)
		}}
	}
	return checks
}
