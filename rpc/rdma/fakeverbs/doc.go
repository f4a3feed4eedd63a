// Package fakeverbs is a network of RDMA devices in memory, for tests: with everything
// that goes wrong with real ones.
//
//	fabric := fakeverbs.New()
//	nic := fabric.Add("fake0", verbs.GID(addr.As16()))
//	adapter, err := rdma.Open(rdma.Options{Driver: fabric, Device: "fake0", Locate: nic.Locate})
//	nic.Judge = func(r fakeverbs.Read) fakeverbs.Fate { … }
//
// It is strict where devices are: memory that is not registered, or not for that, is not
// accessed; READs complete in order; there is an event only for completions after Arm;
// the first bad completion puts a queue pair into ERR. What a program does that could
// let a device write to memory that is not its any more is noted: [Fabric.Violations].
//
// Times are those of package time, so that in a bubble of testing/synctest a minute
// takes none. Speed says nothing.
package fakeverbs
