// Package faults finds the processes of a container on its node, sends them signals,
// offers the first to the kernel that looks for memory, and tells what the container has
// mounted and in its environment. It is what a privileged pod that sees the node's
// processes (hostPID) does for the end-to-end tests, which know a container by the id in
// its pod's status.
//
// A container's processes are those in its control group or below it. That is so
// with both versions of control groups and with both of the kubelet's drivers:
//
//	/kubepods/burstable/pod1f…/ID                                     cgroupfs
//	/kubepods.slice/…/kubepods-burstable-pod1f….slice/cri-containerd-ID.scope   systemd
//
// A signal goes to a pidfd: one that is opened, then known to be in the container,
// and only then used. It cannot hit a process that has got the id meanwhile.
//
// The package keeps no state: a crash loses nothing but the answer.
package faults
