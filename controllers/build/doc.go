// Package build makes the Kubernetes objects of a pool and of a tracker from the
// manifest. It is pure: the same manifest and [Settings] give the same objects,
// to the byte, so that a changed object means a changed wish. Of the status, the
// budget alone looks at replicas.
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
//	│ volumes: rpcpool-run (socket, agent), rpcpool-work (workers' directories),     │
//	│          rpcpool-pod (since when the pod drains), and of calls rpcpool-journal │
//	│          and rpcpool-token                                                     │
//	└────────────────────────────────────────────────────────────────────────────────┘
//
// The sidecar starts first, and answers /healthz, which its startup probe asks
// for, whether there is an agent or not; /readyz is false, and the pod not ready,
// until a worker in the device container has passed the probe and the tracker has
// the offer.
//
// The template is the user's: what it says stays, and is added to. What it can
// come into conflict with:
//
//   - Ports. Its containers share the network with the sidecar, which has
//     server.port and 9191. With hostNetwork these are the node's, as is the
//     address that the probes go to. The API server makes host ports of them, by
//     which a scheduler that looks at those of native sidecars gives no node two
//     such pods; of two, the second never becomes ready. No Pod Security level but
//     privileged allows hostNetwork.
//   - DNS. The tracker is a Service. With hostNetwork, dnsPolicy is
//     ClusterFirstWithHostNet unless the template has one; whatever it has must
//     find Services.
//   - Paths. The device container gets mounts on /run/rpcpool and
//     /var/lib/rpcpool, which hide what its image has there, and are refused by the
//     API server beside others of the same path. They suffice for a read-only
//     root: work directories, temporary files and cores are in the second. The
//     worker of our image is /run/rpcpool/bin/rpcpool-worker in every image, with
//     protocol RPC rpcpool-calls-worker; the agent finds it by its name.
//   - shareProcessNamespace (or hostPID): the agent is not process 1 then. It
//     works the same, being a subreaper, and knows the sidecar from workers by
//     their ancestry. If it is killed, what its workers had forked may outlive it,
//     until the next agent, which kills that before it starts a worker.
//   - fsGroup. It must be there, since it is how the sidecar, of another user than
//     the device container, may open the agent's socket. Where the template has
//     none, 65532 is set, and the kubelet gives that group to volumes of the
//     template that can have one; fsGroupChangePolicy says when.
//   - A limit on ephemeral-storage. Work directories count: it needs room for two
//     of server.workDir.sizeLimit, and the cores with killDump Abort.
//   - Probes and resources of the device container are those of the agent with all
//     of its workers.
package build
