package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"rpcpool.dev/internal/manifest"
	"rpcpool.dev/internal/sriov"
)

// sriovFlags are the flags of `rpcpool sriov-config`.
type sriovFlags struct {
	files           []string
	base            string
	resource        string
	prefix          string
	namespace, name string
	output          objectFormat

	selector        sriov.Selector
	deviceType      string
	excludeTopology bool
}

func newSRIOVConfigCommand() *cobra.Command {
	var f sriovFlags
	cmd := &cobra.Command{
		Use:   "sriov-config {-f FILE|--resource NAME|--base FILE} [flags]",
		Short: "Make and check the configuration of the SR-IOV network device plugin",
		Long: `Sriov-config makes the ConfigMap by which the SR-IOV network device plugin offers virtual
functions as the resource that pools want (spec.rdma.resourceName), and checks it by the
plugin's own rules and those of Kubernetes. Each flag that selects functions is a field of
the plugin's selectors; a function must be in each list that is given.

With --base, what is there is kept, and the resource is added or replaces the one of its
name; without a flag that selects, what is there is checked. The plugin offers a function as
the first resource that selects it, and reads its configuration when it starts.`,
		Example: `  # Virtual functions 0 to 7 of one card, as what the pool wants
  rpcpool sriov-config -f config/samples/rpcpool-rdma.yaml --pf-name 'ens1f0#0-7' | kubectl apply -f -

  # All of a vendor's that have RDMA over Ethernet, beside what is offered already
  kubectl get configmap -n kube-system sriovdp-config -o yaml |
    rpcpool sriov-config --base - --resource openshift.io/rdma_vf --vendor 15b3 --link-type ether

  # Has the configuration what the pool wants?
  rpcpool sriov-config -f config/samples/rpcpool-rdma.yaml --base config.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *sriovFlags) register(flags *pflag.FlagSet) {
	f.output = objectFormat(outputYAML)
	flags.StringArrayVarP(&f.files, "filename", "f", nil, "`FILE` with manifests of pools, whose resource it is; - is standard input; may be given more than once")
	flags.StringVar(&f.base, "base", "", "`FILE` with a configuration or a ConfigMap that is there, which is kept; - is standard input")
	flags.StringVar(&f.resource, "resource", "", "`PREFIX/NAME` of the resource; empty: the one that the pools want")
	flags.StringVar(&f.prefix, "resource-prefix", "intel.com", "`PREFIX` of resources in --base that have none: the plugin's flag of the same name")
	flags.StringVar(&f.namespace, "namespace", "kube-system", "`NAMESPACE` of the ConfigMap: the plugin's")
	flags.StringVar(&f.name, "name", "sriovdp-config", "`NAME` of the ConfigMap: the one that the plugin mounts")
	flags.VarP(&f.output, "output", "o", "format of the ConfigMap on stdout")
	flags.StringVar(&f.deviceType, "device-type", "", "deviceType: `TYPE` netDevice, accelerator or auxNetDevice, of which pools can have the first; empty: netDevice")
	flags.BoolVar(&f.excludeTopology, "exclude-topology", false, "excludeTopology: NUMA nodes play no part in what a pod gets")
	s := &f.selector
	for _, list := range []struct {
		to          *[]string
		flag, usage string
	}{
		{&s.Vendors, "vendor", "vendors: PCI `ID` of a vendor, such as 15b3"},
		{&s.Devices, "device", "devices: PCI `ID` of a device, such as 101e"},
		{&s.Drivers, "driver", "drivers: kernel `DRIVER`, such as mlx5_core"},
		{&s.PCIAddresses, "pci-address", "pciAddresses: `ADDRESS` of a function, such as 0000:86:00.2"},
		{&s.ACPIIndexes, "acpi-index", "acpiIndexes: `NUMBER` of a function, by the firmware"},
		{&s.AuxTypes, "aux-type", "auxTypes: `TYPE` of auxiliary device: sf"},
		{&s.PFNames, "pf-name", "pfNames: `INTERFACE` of a physical function, and of which virtual ones, such as ens1f0#0-3,5"},
		{&s.RootDevices, "root-device", "rootDevices: `ADDRESS` of a physical function, and of which virtual ones, such as 0000:86:00.0#0-3"},
		{&s.LinkTypes, "link-type", "linkTypes: `TYPE` ether or infiniband"},
		{&s.DDPProfiles, "ddp-profile", "ddpProfiles: `NAME` of a packet profile of Intel's"},
		{&s.PKeys, "pkey", "pKeys: `KEY` of a partition of InfiniBand, such as 0x8001"},
	} {
		flags.StringArrayVar(list.to, list.flag, nil, list.usage+"; may be given more than once")
	}
	flags.BoolVar(&s.IsRDMA, "rdma", true, "isRdma: only functions with an RDMA device, whose nodes containers get")
	flags.BoolVar(&s.NeedVhostNet, "vhost-net", false, "needVhostNet: containers get /dev/vhost-net")
	flags.StringVar(&s.VDPAType, "vdpa-type", "", "vdpaType: `TYPE` vhost or virtio, which excludes --rdma")
}

func (f *sriovFlags) run(cmd *cobra.Command) error {
	demands, err := f.demands(cmd.InOrStdin())
	if err != nil {
		return usageError{err}
	}
	config, err := f.config(cmd.InOrStdin(), demands)
	if err != nil {
		return usageError{err}
	}
	if errs := config.Check(); len(errs) > 0 {
		return usageError{errors.New(strings.Join(lines(errs), "\n"))}
	}
	if missing := config.Missing(f.prefix, demands); len(missing) > 0 {
		return errors.New(strings.Join(missing, "\n"))
	}
	object, err := config.ConfigMap(f.namespace, f.name)
	if err != nil {
		return err
	}
	return printData(cmd.OutOrStdout(), outputFormat(f.output), object, nil)
}

// lines are errors, each on one.
func lines(errs field.ErrorList) (all []string) {
	for _, err := range errs {
		all = append(all, err.Error())
	}
	return all
}

// demands are what the pools of the manifests want.
func (f *sriovFlags) demands(stdin io.Reader) (demands []sriov.Demand, err error) {
	if len(f.files) == 0 {
		return nil, nil
	}
	if f.base == manifest.Stdin && slices.Contains(f.files, manifest.Stdin) {
		return nil, errors.New("--base and --filename: both are standard input")
	}
	pools, err := manifest.Load(f.files, stdin)
	if err != nil {
		return nil, err
	}
	for i := range pools {
		p := &pools[i]
		if r := p.Spec.RDMA; r.Wanted() && r.ResourceName != "" {
			demands = append(demands, sriov.Demand{Pool: p.Namespace + "/" + p.Name, Resource: r.ResourceName})
		}
	}
	if len(demands) == 0 {
		return nil, errors.New("no pool asks for RDMA devices of the device plugin (spec.rdma.resourceName)")
	}
	return demands, nil
}

// config is what is there, with the resource of the flags.
func (f *sriovFlags) config(stdin io.Reader, demands []sriov.Demand) (*sriov.Config, error) {
	config := &sriov.Config{}
	if f.base != "" {
		text, err := readBounded(f.base, stdin)
		if err != nil {
			return nil, fmt.Errorf("--base: %w", err)
		}
		if config, err = sriov.Read(text); err != nil {
			return nil, fmt.Errorf("--base: %s: %w", f.base, err)
		}
	}
	selects := !reflect.DeepEqual(f.selector, sriov.Selector{IsRDMA: f.selector.IsRDMA})
	if f.base != "" && f.resource == "" && !selects {
		return config, nil
	}
	resource, err := f.theResource(demands)
	if err != nil {
		return nil, err
	}
	r := sriov.Resource{Type: f.deviceType, ExcludeTopology: f.excludeTopology, Selectors: sriov.Selectors{f.selector}}
	r.Prefix, r.Name = sriov.Split(resource)
	config.Set(r)
	return config, nil
}

// theResource is the one that the flags select functions for.
func (f *sriovFlags) theResource(demands []sriov.Demand) (string, error) {
	if f.resource != "" {
		return f.resource, nil
	}
	var names []string
	for _, d := range demands {
		names = append(names, d.Resource)
	}
	slices.Sort(names)
	switch names = slices.Compact(names); len(names) {
	case 0:
		return "", errors.New("--resource: want one, or pools that want one (--filename)")
	case 1:
		return names[0], nil
	default:
		return "", fmt.Errorf("--resource: the pools want %s: give one, and add the others with --base", strings.Join(names, " and "))
	}
}

// readBounded reads a file that is not larger than a ConfigMap can be.
func readBounded(path string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path != manifest.Stdin {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, 2*sriov.MaxBytes+1))
	if err == nil && len(text) > 2*sriov.MaxBytes {
		err = fmt.Errorf("%s: more than %d bytes", path, 2*sriov.MaxBytes)
	}
	return text, err
}
