// Package sysfs writes what Linux tells in /sys about RDMA devices, for devices
// that are not there. Programs that take the root of sysfs as a setting find in
// such a tree what they would find on a node with SR-IOV network cards:
//
//	bus/pci/devices/ADDRESS/
//	  net/INTERFACE/mtu
//	  infiniband_verbs/VERBS/ibdev
//	  infiniband/DEVICE/ports/1/
//	    state                 4: ACTIVE
//	    link_layer            Ethernet
//	    gids/N                fe80:0000:0000:0000:…
//	    gid_attrs/types/N     RoCE v2
//	    gid_attrs/ndevs/N     INTERFACE
//	class/infiniband/DEVICE           ──▶ bus/pci/devices/ADDRESS/infiniband/DEVICE
//	class/net/INTERFACE               ──▶ bus/pci/devices/ADDRESS/net/INTERFACE
//
// The one difference that shows is that bus/pci/devices/ADDRESS is a directory and
// not a link into devices/. The package keeps no state: who crashes while writing
// leaves a part of the tree, and writing it again completes it.
package sysfs
