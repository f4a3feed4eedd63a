// Package monitoring holds config/prometheus/rules.yaml and docs/monitoring.md to
// what rpcpool really tells, by Debian's Prometheus:
//
//	promtool    takes the rules; each fires, and is quiet, when testdata says so
//	names       every metric, label and value in an expression is in docs/metrics.md
//	page        every rule is on the page, with a severity and a time that are true
//	Prometheus  scrapes a pool that a tuning job crashes, and the page's queries
//	            and the recording rules answer what happened
//
// The tests look for promtool and prometheus in PATH and fail without them.
package monitoring
