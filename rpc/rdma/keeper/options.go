package keeper

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"time"

	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Options of a Keeper. The zero value of each field means its default.
type Options struct {
	// Promise says which devices there should be. Its Host needs no Library. Default: whatever
	// this process was given, and Mode is off.
	Promise device.Promise
	// Load finds the driver. Default: verbs.Load.
	Load func() (verbs.Driver, error)
	// Adapter is what devices are opened with. Driver, Device and Locate are filled in.
	Adapter rdma.Options
	Log     *slog.Logger // default: none
}

func (o Options) withDefaults() Options {
	if o.Load == nil {
		o.Load = verbs.Load
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Silence is how long a peer may be silent by default until it counts as dead.
const Silence = 500 * time.Millisecond

// maxSilence is more than what any network needs.
const maxSilence = time.Minute

// What headers of packets have room for.
const mostTrafficClass, mostServiceLevel = 255, 15

// Flags are those of a program that uses RDMA devices.
type Flags struct {
	device.Flags

	silence                    time.Duration
	trafficClass, serviceLevel int
}

// Register adds the flags of a server.
func (f *Flags) Register(flags *flag.FlagSet) {
	f.Flags.Register(flags)
	f.register(flags)
}

// RegisterClient adds the flags of a client.
func (f *Flags) RegisterClient(flags *flag.FlagSet) {
	f.Flags.RegisterClient(flags)
	f.register(flags)
}

func (f *Flags) register(flags *flag.FlagSet) {
	flags.DurationVar(&f.silence, "rdma-silence", Silence, "how long the RDMA device of a peer may be silent until it counts as dead; devices know powers of two, and may take up to four times as long")
	flags.IntVar(&f.trafficClass, "rdma-traffic-class", 0, "`NUMBER` in the headers of the RDMA device's packets (DSCP times four), by which switches choose a queue; 0 to 255")
	flags.IntVar(&f.serviceLevel, "rdma-service-level", 0, "`NUMBER` of the RDMA device's packets: on InfiniBand the service level, on Ethernet the priority in a VLAN's tag; 0 to 15")
}

// Options checks the flags. An error names the flag that is wrong.
func (f *Flags) Options() (o Options, err error) {
	if o.Promise, err = f.Promise(); err != nil {
		return o, err //nolint:wrapcheck // it names the flag
	}
	if f.silence <= 0 || f.silence > maxSilence {
		return o, fmt.Errorf("--rdma-silence: %s is not within a minute", f.silence)
	}
	for _, n := range []struct {
		flag        string
		value, most int
	}{{"rdma-traffic-class", f.trafficClass, mostTrafficClass}, {"rdma-service-level", f.serviceLevel, mostServiceLevel}} {
		if n.value < 0 || n.value > n.most {
			return o, fmt.Errorf("--%s: %d is not from 0 to %d", n.flag, n.value, n.most)
		}
	}
	o.Adapter = Patient(f.silence)
	o.Adapter.TrafficClass, o.Adapter.ServiceLevel = f.trafficClass, f.serviceLevel
	return o, nil
}

// Patient are the options of an adapter whose peers may be silent for so long: a packet is
// sent eight times.
func Patient(silence time.Duration) rdma.Options {
	const (
		retries = 7
		unit    = 4096 * time.Nanosecond // doubled Timeout times
	)
	each := float64(silence) / (retries + 1) / float64(unit)
	return rdma.Options{Retries: retries, Timeout: max(1, int(math.Ceil(math.Log2(max(each, 1)))))}
}

// errOff is why a keeper of no devices has none.
var errOff = errors.New("RDMA is off")
