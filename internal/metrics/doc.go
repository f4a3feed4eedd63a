// Package metrics serves a process's Prometheus metrics and its health, the
// same way in every program of rpcpool.
//
//	/metrics  the registry, in the text or the OpenMetrics format (exemplars)
//	/healthz  200 while the process can answer at all
//	/readyz   200 if ready() is nil, else 503 and the reason
//	/debug/blobs  who has which blob of a server of calls
//	/debug/rpc  which calls are open at a server of calls
//	/agentz   the same of the agent beside a server
//
// It owns one listener and no state: a crash loses nothing that the next
// scrape does not bring back.
package metrics
