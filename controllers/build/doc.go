// Package build makes the Kubernetes objects of a pool and of a tracker from the
// manifest. It is pure: the same manifest and [Settings] give the same objects,
// to the byte, so that a changed object means a changed wish.
//
// A device pod:
//
//	┌ pod POOL-ORDINAL ── restartPolicy Always, no service account token ───────────┐
//	│ init  rpcpool-agent    copies the agent (and the worker of our own image) into │
//	│                        the volume rpcpool-run, and ends                        │
//	│ init  rpcpool-sidecar  native sidecar: the RPC server; :server.port, :9191     │
//	│ main  device           the template's container; its command is the agent      │
//	│                        (PID 1), which starts the workers                       │
//	│ main  …                what else the template has, untouched                   │
//	│ volumes: rpcpool-run (socket, agent), rpcpool-work (sessions' directories)     │
//	└────────────────────────────────────────────────────────────────────────────────┘
//
// The template is the user's: what it says stays, and is added to.
package build
