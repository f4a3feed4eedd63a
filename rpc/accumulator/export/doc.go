// Package export shows the accumulators of a server to Prometheus.
//
//	type      becomes                                            samples
//	────────  ─────────────────────────────────────────────────  ─────────────────────────────
//	sum       counter                                            <name>_total
//	floatsum  counter                                            <name>_total
//	avg       summary without quantiles                          <name>_sum, <name>_count
//	max       gauge, if there is a value                         <name>_max
//	min       gauge, if there is a value                         <name>_min
//	timer     native histogram, two gauges if there is a value   <name>_seconds, <name>_seconds_min,
//	                                                             <name>_seconds_max
//
// All names begin with rpcpool_accumulator_. What cannot be in a metric's name is
// escaped as Prometheus does it ("a.b" is U__a_2e_b). Labels are the
// accumulator's own. Counters, summaries and histograms have the time of their
// accumulator's start, so that one which was reset or erased is not taken for one
// that went down. A sum to which negative values are added does go down: Prometheus
// takes that for a reset; such a thing is better pushed as two sums. Custom types
// are not exported.
//
// Two accumulators whose samples would have the same name (a max "x" and an avg
// "x_max") cannot both be there: the first by the alphabet is, the other is counted.
// So nothing that is pushed can break a scrape.
//
// A collector owns no state: a crash loses nothing.
package export
