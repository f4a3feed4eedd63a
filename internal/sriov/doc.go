// Package sriov makes and checks the configuration of the SR-IOV network device
// plugin, which decides which virtual functions of a node are which resource:
//
//	flags, pools' manifests ──▶ Resource ─┐
//	                                      ├─▶ Config ─ Check ─▶ JSON ─▶ ConfigMap
//	a configuration that is there ────────┘
//
// The plugin reads its configuration forgivingly: it ignores what it does not know, an
// index that is no number selects nothing, a resource that can never have a device is
// offered with none. [Config.Check] is strict, so that a mistake is seen here and not as
// pods that no node has room for. Its rules are the plugin's own, in the plugin's words for
// fields, and Kubernetes' for names of resources.
//
// The package is pure, and keeps nothing.
package sriov
