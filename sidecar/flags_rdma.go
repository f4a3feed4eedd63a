package sidecar

import (
	"flag"
	"fmt"

	rdma "rpcpool.dev/rpc/rdma/device"
)

// maxDevices bounds --rdma-count.
const maxDevices = 64

// rdmaFlags are the flags of a server that was promised RDMA devices.
type rdmaFlags struct{ mode string }

// register adds the flags to a flag set. Those whose value needs no reading go
// to o at once.
func (r *rdmaFlags) register(flags *flag.FlagSet, o *Options) {
	flags.StringVar(&r.mode, "rdma-mode", string(rdma.Off), "`mode`: off, auto (the server says whether its RDMA devices can be used) or required (and is not offered while they cannot)")
	flags.StringVar(&o.RDMA.Resource, "rdma-resource", "", "`resource` of the RDMA devices, such as openshift.io/rdma_vf: the SR-IOV device plugin tells in PCIDEVICE_… which they are; empty: all that this process was given")
	flags.IntVar(&o.RDMA.Count, "rdma-count", 1, "`number` of RDMA devices")
	flags.StringVar(&o.RDMA.Host.NetworkStatus, "rdma-network-status", "", "`FILE` with the pod's annotation "+rdma.NetworkStatusAnnotation+", which tells which interface was made of which device; empty: none")
}

// check reads the flags into o. An error names the flag that is wrong.
func (r *rdmaFlags) check(o *Options) error {
	mode, err := rdma.ParseMode(r.mode)
	switch {
	case err != nil:
		return fmt.Errorf("--rdma-mode: %w", err)
	case o.RDMA.Count < 1 || o.RDMA.Count > maxDevices:
		return fmt.Errorf("--rdma-count: %d is not between 1 and %d", o.RDMA.Count, maxDevices)
	}
	if err := checkName(o.RDMA.Resource); err != nil {
		return fmt.Errorf("--rdma-resource: %w", err)
	}
	o.RDMA.Mode = mode
	return nil
}
