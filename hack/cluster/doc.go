// Command cluster runs a real Kubernetes cluster on one Linux machine, without
// Docker: etcd, the control plane, and nodes with containerd, kubelet and
// kube-proxy. Nothing in it is simulated but the cables and the power switches.
//
//	host ── rpcpool0 10.99.0.1 ─┐ bridge, in the namespace of control
//	                            ├── control 10.99.0.2   etcd, kube-apiserver, kube-controller-manager, kube-scheduler, coredns
//	                            ├── n1      10.99.0.11  containerd, kubelet, kube-proxy; pods 10.99.1.0/24
//	                            └── n2      10.99.0.12  containerd, kubelet, kube-proxy; pods 10.99.2.0/24
//
// Each machine is one process with network, mount, pid, IPC and host name
// namespaces of its own: its init, which is this program again. It starts the
// machine's services, starts them again when they end, and reaps orphans. When it
// is killed, the kernel ends everything in the machine and unmounts everything
// that was mounted, which is what a power cut does.
//
//	         up, boot                       kill INIT
//	(none) ───────────▶ booting ──▶ running ──────────▶ off ── boot ──▶ booting
//	                                   │ a service ends: again after 1 s
//
// The state is a directory:
//
//	DIR/cluster             this program, which the machines run
//	DIR/cluster.json        what `up` was asked for
//	DIR/pki/                keys, certificates, kubeconfigs of the components
//	DIR/kubeconfig          the administrator's; it can be copied elsewhere
//	DIR/images/             what every node imports when it boots
//	DIR/MACHINE/            its disk: configuration, logs, containers, etcd's data
//
// Outside of it there are the network namespaces rpcpool-MACHINE, the link rpcpool0
// with a route for each node, and a control group rpcpool-MACHINE per node and hierarchy.
// `down` removes all of that. The processes are found by their id and start time: an id
// that another process has got in the meantime is left alone.
//
// A crash of `up` or `down` halfway loses nothing that running it again does not mend.
package main
