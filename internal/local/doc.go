// Package local runs the pools of RPCPool manifests as processes on one
// machine: what the operator does on a cluster, without a cluster.
//
//	manifests ─▶ [NewPlan] (pure) ─▶ [Plan] ─▶ [Run]: bind every port, then start
//	                                            ├─ a tracker for each tracker name
//	                                            └─ replicas × server (+ its agent process)
//
// [NewPlan] decides everything: which trackers and servers there are, their
// addresses and their workers. It also says no to what one machine cannot do.
// [Run] binds all ports before it starts anything, so that a port in use is one
// clear error and nothing is half up. What a tracker and a server are is
// injected ([Parts]); this package knows neither.
//
// The end: servers are stopped first, so that their offers are withdrawn, then
// the trackers. A crash of this process loses every session and every queue
// position; each agent notices that its parent is gone and kills its workers.
package local
