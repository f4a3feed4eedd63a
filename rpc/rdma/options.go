package rdma

import (
	"cmp"
	"time"

	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Options are what an adapter is opened with. Only Device and Locate have no defaults.
type Options struct {
	Driver verbs.Driver // default: that of this machine, by verbs.Load
	Device string       // its name, such as mlx5_3
	// Locate finds where the device is in the network. It is asked for each endpoint,
	// and again when that is connected. An error has the reason NoGID, unless it is an
	// [Error] with another.
	Locate func() (Place, error)

	Chunk  int // of a READ, bytes; default 1 MiB
	Depth  int // READs of an endpoint under way at most, up to 128; default 16
	Inline int // ranges up to so many bytes go within descriptors; default and at most MostInline, negative: none

	MTU          int // of packets at most, bytes; default: what both ports can
	Timeout      int // until a packet is sent again, 4.096 us doubled as often; default 14, which is 67 ms
	Retries      int // default 7, at most that; negative: none
	TrafficClass int // of packets with a GID: 0 to 255
	ServiceLevel int // 0 to 15

	Spin  time.Duration // for how long completions are polled before who waits sleeps; default 20 us, negative: not
	Stall time.Duration // for how long nothing completes before the queue pair is given up; default 10 s
	Drain time.Duration // how long a broken queue pair may flush before it is destroyed; default 1 s

	// Told is told what the device tells by itself, when the endpoints that this breaks are
	// broken. Nil: nobody listens, and a broken device is noticed when it is used.
	Told func(verbs.Event)

	lockable func(bytes uint64) error // for tests; default: device.Lockable
}

// Place is where a device is in a network.
type Place struct {
	Port  int       // from 1 on
	Index int       // of the GID in the port's table, now
	GID   verbs.GID // which is there
}

func (o Options) withDefaults() Options {
	o.Chunk = cmp.Or(o.Chunk, 1<<20)
	o.Depth = max(1, min(cmp.Or(o.Depth, 16), 128))
	o.Inline = max(0, min(cmp.Or(o.Inline, MostInline), MostInline))
	o.MTU = cmp.Or(o.MTU, 4096)
	o.Timeout = max(1, min(cmp.Or(o.Timeout, 14), 31))
	o.Retries = max(0, min(cmp.Or(o.Retries, 7), 7))
	o.Spin = cmp.Or(o.Spin, 20*time.Microsecond)
	o.Stall = cmp.Or(o.Stall, 10*time.Second)
	o.Drain = cmp.Or(o.Drain, time.Second)
	if o.lockable == nil {
		o.lockable = device.Lockable
	}
	return o
}
