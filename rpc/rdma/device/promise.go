package device

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// Promise is which devices a server was promised, and what becomes of it while they
// cannot be used. The zero value is none.
type Promise struct {
	Mode Mode
	Want
	// Host is where the devices are looked up; the zero value is this machine.
	Host Host
}

// Watch tells what is true of the devices, until ctx ends. A look is due also when told
// has something in it; nil: never.
func (p Promise) Watch(ctx context.Context, log *slog.Logger, told <-chan struct{}, tell func(Report)) {
	news, err := News(ctx)
	if err != nil {
		log.Warn("changes of RDMA devices are seen later", "err", err)
	}
	Watch{Check: func() Report { return p.Host.Check(p.Want) }, Tell: tell, News: news, Told: told}.Run(ctx)
}

// maxDevices bounds --rdma-count.
const maxDevices = 64

// Flags are the flags of a server that was promised RDMA devices.
type Flags struct {
	mode    string
	promise Promise
}

// Register adds the flags to a flag set.
func (f *Flags) Register(flags *flag.FlagSet) {
	flags.StringVar(&f.mode, "rdma-mode", string(Off), "`mode`: off, auto (the server says whether its RDMA devices can be used) or required (and is not offered while they cannot)")
	flags.StringVar(&f.promise.Resource, "rdma-resource", "", "`resource` of the RDMA devices, such as openshift.io/rdma_vf: the SR-IOV device plugin tells in PCIDEVICE_… which they are; empty: all that this process was given")
	flags.IntVar(&f.promise.Count, "rdma-count", 1, "`number` of RDMA devices")
	flags.StringVar(&f.promise.Host.NetworkStatus, "rdma-network-status", "", "`FILE` with the pod's annotation "+NetworkStatusAnnotation+", which tells which interface was made of which device; empty: none")
}

// RegisterClient adds the flags of a program that uses a device if there is one.
func (f *Flags) RegisterClient(flags *flag.FlagSet) {
	f.promise.Count = 1
	flags.StringVar(&f.mode, "rdma-mode", string(Off), "`mode`: off, auto (long arguments and results go by RDMA if both sides have a device for it, else by TCP) or required (or not at all)")
	flags.StringVar(&f.promise.Resource, "rdma-resource", "", "`resource` of the RDMA device, such as openshift.io/rdma_vf; empty: any that this process was given")
	flags.StringVar(&f.promise.Host.NetworkStatus, "rdma-network-status", "", "`FILE` with the pod's annotation "+NetworkStatusAnnotation+"; empty: none")
}

// Promise checks the flags. An error names the flag that is wrong.
func (f *Flags) Promise() (Promise, error) {
	mode, err := ParseMode(f.mode)
	switch {
	case err != nil:
		return Promise{}, fmt.Errorf("--rdma-mode: %w", err)
	case f.promise.Count < 1 || f.promise.Count > maxDevices:
		return Promise{}, fmt.Errorf("--rdma-count: %d is not between 1 and %d", f.promise.Count, maxDevices)
	case strings.ContainsFunc(f.promise.Resource, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Promise{}, fmt.Errorf("--rdma-resource: %.80q has characters that cannot be printed", f.promise.Resource)
	}
	p := f.promise
	p.Mode = mode
	return p, nil
}
