package sriov

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Types of devices.
const (
	netDevice    = "netDevice"
	accelerator  = "accelerator"
	auxNetDevice = "auxNetDevice"
)

var (
	resourceName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	pciID        = regexp.MustCompile(`^[0-9a-f]{4}$`)
	pciAddress   = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	pKey         = regexp.MustCompile(`^0x[0-9a-fA-F]{1,4}$`)
	driver       = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// Check returns everything that is wrong, by the plugin's rules and Kubernetes'. No
// function is offered twice: the first resource that takes one has it.
func (c *Config) Check() (errs field.ErrorList) {
	list := field.NewPath("resourceList")
	if len(c.ResourceList) == 0 {
		return field.ErrorList{field.Required(list, "names no resource")}
	}
	seen := make(map[string]bool)
	for i := range c.ResourceList {
		r, at := &c.ResourceList[i], list.Index(i)
		errs = append(errs, r.check(at)...)
		if seen[r.FullName()] {
			errs = append(errs, field.Duplicate(at.Child("resourceName"), r.FullName()))
		}
		seen[r.FullName()] = true
		for j := range i {
			if other := &c.ResourceList[j]; len(r.Selectors) > 0 && reflect.DeepEqual(other.Selectors, r.Selectors) && typeOf(other) == typeOf(r) {
				errs = append(errs, field.Invalid(at.Child("selectors"), r.FullName(), "has nothing left: "+other.FullName()+", which comes first, selects the same"))
			}
		}
	}
	return errs
}

func typeOf(r *Resource) string {
	if r.Type == "" {
		return netDevice
	}
	return r.Type
}

func (r *Resource) check(at *field.Path) (errs field.ErrorList) {
	name := at.Child("resourceName")
	switch {
	case r.Name == "":
		errs = append(errs, field.Required(name, ""))
	case !resourceName.MatchString(r.Name):
		errs = append(errs, field.Invalid(name, r.Name, "must consist of letters, digits, _ and -"))
	default:
		for _, problem := range validation.IsQualifiedName(r.Name) { // what the kubelet wants beyond that
			errs = append(errs, field.Invalid(name, r.Name, problem))
		}
	}
	if r.Prefix != "" {
		for _, problem := range validation.IsDNS1123Subdomain(r.Prefix) {
			errs = append(errs, field.Invalid(at.Child("resourcePrefix"), r.Prefix, problem))
		}
		if strings.HasSuffix(r.Prefix, "kubernetes.io") {
			errs = append(errs, field.Invalid(at.Child("resourcePrefix"), r.Prefix, "is Kubernetes' own"))
		}
	}
	if types := []string{netDevice, accelerator, auxNetDevice}; !slices.Contains(types, typeOf(r)) {
		return append(errs, field.NotSupported(at.Child("deviceType"), r.Type, types))
	}
	if len(r.Selectors) == 0 {
		return append(errs, field.Required(at.Child("selectors"), "without one it takes every device of the node"))
	}
	for i := range r.Selectors {
		s := selectorCheck{selector: &r.Selectors[i], kind: typeOf(r), at: at.Child("selectors").Index(i)}
		errs = append(errs, s.run()...)
	}
	return errs
}

// selectorCheck collects what is wrong with one selector.
type selectorCheck struct {
	selector *Selector
	kind     string // of devices
	at       *field.Path
	errs     field.ErrorList
	any      bool // it has a condition
}

func (c *selectorCheck) run() field.ErrorList {
	s := c.selector
	c.list("vendors", s.Vendors, nil, matches(pciID, "must be a PCI id: four hexadecimal digits, in lower case"))
	c.list("devices", s.Devices, nil, matches(pciID, "must be a PCI id: four hexadecimal digits, in lower case"))
	c.list("drivers", s.Drivers, nil, matches(driver, "must be the name of a kernel driver"))
	c.list("pciAddresses", s.PCIAddresses, not(auxNetDevice), matches(pciAddress, "must be a PCI address, such as 0000:86:00.2"))
	c.list("acpiIndexes", s.ACPIIndexes, not(accelerator), number)
	c.list("auxTypes", s.AuxTypes, []string{auxNetDevice}, among("sf"))
	c.list("pfNames", s.PFNames, not(accelerator), physical(nil))
	c.list("rootDevices", s.RootDevices, not(accelerator), physical(pciAddress))
	c.list("linkTypes", s.LinkTypes, not(accelerator), among("ether", "infiniband"))
	c.list("ddpProfiles", s.DDPProfiles, []string{netDevice}, nil)
	c.list("pKeys", s.PKeys, []string{netDevice}, matches(pKey, "must be a partition's key, such as 0x8001"))
	c.flag("isRdma", s.IsRDMA, not(accelerator))
	c.flag("needVhostNet", s.NeedVhostNet, not(accelerator))
	c.flag("vdpaType", s.VDPAType != "", []string{netDevice})
	c.together()
	if !c.any {
		c.errs = append(c.errs, field.Required(c.at, "without a list it takes every device of the node"))
	}
	return c.errs
}

// together are the rules for several fields.
func (c *selectorCheck) together() {
	s := c.selector
	bad := func(child string, value any, detail string) {
		c.errs = append(c.errs, field.Invalid(c.at.Child(child), value, detail))
	}
	if s.VDPAType != "" && s.VDPAType != "vhost" && s.VDPAType != "virtio" {
		c.errs = append(c.errs, field.NotSupported(c.at.Child("vdpaType"), s.VDPAType, []string{"vhost", "virtio"}))
	}
	if s.IsRDMA && s.VDPAType != "" {
		bad("vdpaType", s.VDPAType, "excludes isRdma")
	}
	if s.IsRDMA && len(s.Drivers) > 0 && !slices.ContainsFunc(s.Drivers, func(d string) bool { return !userspace(d) }) {
		bad("drivers", strings.Join(s.Drivers, ","), "give functions to programs, which have no RDMA device then: isRdma takes none of them")
	}
	if len(s.PKeys) > 0 && len(s.LinkTypes) > 0 && !slices.Contains(s.LinkTypes, "infiniband") {
		bad("pKeys", strings.Join(s.PKeys, ","), "are InfiniBand's, which linkTypes leaves out")
	}
}

// userspace drivers give a function to a program as a whole.
func userspace(driver string) bool {
	return driver == "vfio-pci" || driver == "uio_pci_generic" || driver == "igb_uio"
}

// list checks the values of a field. kinds are the types of devices that have it; nil:
// all. ok returns what is wrong with a value, or nothing.
func (c *selectorCheck) list(name string, values, kinds []string, ok func(string) string) {
	if len(values) == 0 {
		return
	}
	c.any = true
	at := c.at.Child(name)
	c.belongs(at, kinds)
	seen := make(map[string]bool)
	for i, v := range values {
		switch {
		case v == "":
			c.errs = append(c.errs, field.Required(at.Index(i), ""))
		case seen[v]:
			c.errs = append(c.errs, field.Duplicate(at.Index(i), v))
		case ok != nil:
			if problem := ok(v); problem != "" {
				c.errs = append(c.errs, field.Invalid(at.Index(i), v, problem))
			}
		}
		seen[v] = true
	}
}

func (c *selectorCheck) flag(name string, set bool, kinds []string) {
	if set {
		c.belongs(c.at.Child(name), kinds)
	}
}

func (c *selectorCheck) belongs(at *field.Path, kinds []string) {
	if kinds != nil && !slices.Contains(kinds, c.kind) {
		c.errs = append(c.errs, field.Forbidden(at, "deviceType "+c.kind+" has no such selector"))
	}
}

// not are all types but one.
func not(kind string) []string {
	return slices.DeleteFunc([]string{netDevice, accelerator, auxNetDevice}, func(k string) bool { return k == kind })
}

func matches(re *regexp.Regexp, otherwise string) func(string) string {
	return func(v string) string {
		if re.MatchString(v) {
			return ""
		}
		return otherwise
	}
}

func among(values ...string) func(string) string {
	return func(v string) string {
		if slices.Contains(values, v) {
			return ""
		}
		return "must be " + strings.Join(values, " or ")
	}
}

func number(v string) string {
	if _, err := strconv.ParseUint(v, 10, 32); err != nil {
		return "must be a number"
	}
	return ""
}

// physical checks a physical function with, after a #, numbers and ranges of its virtual
// functions. An interface may be a regular expression.
func physical(re *regexp.Regexp) func(string) string {
	return func(v string) string {
		name, ranges, some := strings.Cut(v, "#")
		if re != nil && !re.MatchString(name) {
			return "must be a PCI address, such as 0000:86:00.0, or one with # and numbers of virtual functions"
		}
		if _, err := regexp.Compile(name); name == "" || err != nil {
			return "must be an interface's name or a regular expression, or one with # and numbers of virtual functions"
		}
		if !some {
			return ""
		}
		for entry := range strings.SplitSeq(ranges, ",") {
			first, last, isRange := strings.Cut(entry, "-")
			if !isRange {
				last = first
			}
			a, errA := strconv.ParseUint(first, 10, 16)
			b, errB := strconv.ParseUint(last, 10, 16)
			if errA != nil || errB != nil || a > b {
				return "must have numbers of virtual functions after the #, such as 0-3,5"
			}
		}
		return ""
	}
}
