// Package kubetest gives tests a Kubernetes API server: a real one, without
// nodes, and a simulated kubelet that says what pods on nodes would come to.
//
//	Suite ── once for all tests of a package ──▶ Server
//	                                              ├─ etcd, kube-apiserver   processes
//	                                              ├─ the CRD of RPCPool
//	                                              ├─ Audit                  who asked for what, by the server's own log
//	Server.Namespace(t) ─────── one per test      │
//	Server.ControllerManager ── real, a process ──┤
//	Server.Kubelet ── simulated, in this process ─┘  binds pods, writes their status, removes deleted ones
//
// A package's tests share a server:
//
//	var suite = kubetest.NewSuite()
//
//	func TestMain(m *testing.M) { suite.Main(m) }
//
//	func TestPodsStart(t *testing.T) {
//		server := suite.Server(t)
//		namespace := server.Namespace(t)
//		kubelet := server.Kubelet(t, kubetest.KubeletOptions{Namespace: namespace})
//		…
//	}
//
// The programs are those of KUBEBUILDER_ASSETS, or else what `make kube` has
// built. A test that finds neither fails: a skipped test proves nothing.
//
// What is simulated and what not: admission, validation, defaults, CEL rules,
// garbage collection and controllers of Deployments are Kubernetes' own.
// Scheduling (no resources are counted), containers, probes and networks are
// not there: a pod's status says what the test wants it to say.
//
// Processes end with the test binary, also if it is killed.
package kubetest
