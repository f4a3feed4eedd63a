// Package e2e holds the end-to-end tests: the operator installed by Helm on a real
// cluster, pools applied by kubectl, clients in pods, and faults.
//
//	make e2e                     on a cluster of this machine's own (hack/cluster)
//	make e2e KUBECONFIG=…        on any other; whoever runs it loads the images there
//	make e2e RUN=REGEXP          only the tests with such names
//	make e2e-smoke               the tests named TestSmoke…, in a minute or two
//
// What a fault costs is taken from clocks of those whom it hits, not from the
// tests' polling:
//
//	fault ── a privileged pod on the node, right before the signal ──▶ t0
//	client pod (visit): lost at t1, what it was told; next call answered at t2
//	detected in t1−t0, recovered in t2−t0; sessions lost: those that did not end as
//	their clients wanted
//
// The figures end in out/e2e/reliability.md, which is the table of docs/reliability.md.
//
// The operator is installed once for all tests; each test has a namespace of its
// own, which is gone when it ends. Tests of faults that others would feel (nodes,
// operators) are not run beside others: no test here is parallel.
//
// Some tests cut the power of a node or kill a kubelet, and one has this machine's
// Prometheus scrape pods, to whose addresses it needs routes. They need hack/cluster;
// elsewhere they are not among the tests that run, and the summary says so.
package e2e
