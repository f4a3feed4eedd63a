// Package keeper has a program's blobs go by the RDMA device that it was given, for as
// long as that works: it is a [remote.Mover] whose device may come and go.
//
//	device.Watch ── Report ──▶ Keeper ◀── Ready, Line, LetGo ── remote.Client, remote.Server
//	                             │ opens the first device that works
//	                             ▼
//	                       rdma.Adapter, mover.Mover
//
// A client and a server need a few lines:
//
//	k, err := keeper.Open(keeper.Options{Promise: device.Promise{Mode: device.Auto}})
//	…
//	c, err := rpc.Dial(rpc.ClientOptions{FarBlobs: k.Far()}, address)
//	s, err := rpc.NewServer(rpc.ServerOptions{Blobs: rpc.BlobOptions{Far: remote.ServerOptions{Mover: k}}})
//
// and close it after these.
//
// # A device
//
//	       a look: it works             it is gone, is another one, has a fault,
//	        ┌─────────────┐             or does not work while another one does
//	(none) ─┤             ▼                             │
//	        │           open ◀──────────┐               ▼
//	        │             │ a look: it  │ works  closing: lines end, memory is
//	        │             ▼ does not    │        deregistered ──▶ (none)
//	        │            idle ──────────┘               │ the device does not obey
//	        └─────────────────────────────────────────  ▼
//	                                                  stuck, for ever
//
// A look is that of package device: at the start, every few seconds, and when an
// interface or an address changes. One is due as well when the open device tells by itself
// that a port has changed, or that it works no more, which is a fault. An idle device stays open, so a link that goes down
// for a moment costs no registration; nobody makes lines then, and what goes on breaks by
// itself. Where the device is in the network is looked up for each line, by address and
// never by number. Of several devices one is used.
//
// # Modes
//
//	auto      what does not go by RDMA goes by TCP; whoever moves the bytes counts the reason
//	required  of a client: it fails with the reason. Of a server: package device says what
//	          becomes of it; those who come to it all the same are served
//
// # What a crash loses
//
// Nothing: what package rdma says.
package keeper
