//go:build linux

// Command scale measures the operator at the size of a farm: against a real
// Kubernetes API server, with simulated kubelets and servers, on one machine.
//
//	go run ./test/scale [flags]
//
// What is real and what is not:
//
//	etcd, kube-apiserver        real (package kubetest)
//	rpcpool-manager             real, its own process: operator and tracker
//	kube-controller-manager     real, for comparison
//	kubelets, scheduler         simulated: two requests bring a pod up
//	servers in pods             simulated: each holds a real connection to the
//	                            tracker, says free and busy, and offers tickets
//	clients                     real connections to the tracker; their sessions
//	                            are pauses
//
// It brings up a pool of some size, then a Deployment of the same pods by
// Kubernetes' own controllers and the same simulated kubelet; looks whether the
// operator writes anything while nothing happens; runs sessions and counts what
// they cost the API server; and grows the pool to see the operator's memory.
// Requests are counted by the API server's audit log, by user. The Deployment
// comes second: whatever is warm by then is to its advantage.
//
// The exit status is 1 if something could not be measured, or a target was
// missed and -strict given. What it starts ends with it.
package main
