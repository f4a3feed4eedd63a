//go:build linux

// Command failover takes the leader away from a pool under load, again and
// again, and then decides from what its clients saw whether anything was lost,
// or given to two.
//
//	go run ./test/failover -kills 50
//
//	clients ──REQUEST──▶ Service ──▶ tracker in the operator that leads
//	   │                   ▲ follows the EndpointSlice      ▲
//	   │                   │                                │ SIGKILL, SIGTERM, SIGSTOP
//	   └─────session──▶ servers: sidecar, agent, workers    └── from a seed
//
//	history: when each client asked, was granted, was let in, left
//	──▶ checker (pure) ──▶ violations and figures
//
// What is real and what is not:
//
//	etcd, kube-apiserver     real (package kubetest)
//	operators                real: two processes of rpcpool-manager, that elect a
//	                         leader by a Lease
//	servers                  real: one `rpcpool serve` for each pod that runs, with
//	                         the pod's name and UID, its agent and its workers
//	kubelet, scheduler       simulated: a pod's process is started when its status
//	                         says that it runs, and stopped when it is deleted
//	kube-proxy               simulated: a relay on the loopback interface, which
//	                         knows of a change of the EndpointSlice at once
//
// A leader is gone in one of three ways:
//
//	kill    SIGKILL; another process is started in its place, as a kubelet does
//	stop    SIGTERM: it gives the Lease up, and ends
//	freeze  SIGSTOP until another one leads, then SIGCONT: for a moment there are
//	        two, each with connections and with a list of its own of what is free
//
// Most sessions last 5 to 50 ms; one in a hundred lasts seconds, so that there are
// servers that tell the next leader that they are busy. Most clients wait for a
// device as long as their tracker lives; some ask anew after a second or two.
//
// The exit status is 1 if a promise was broken. The seed makes the order of
// events, the pauses and the sessions' lengths; what each of them meets is up to
// the machine. What it starts ends with it.
package main
