package sriov

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Config is the plugin's configuration file.
type Config struct {
	ResourceList []Resource `json:"resourceList"`
}

// Resource is what functions are offered as.
type Resource struct {
	// Prefix is the domain of the resource's name; empty: the plugin's own default
	// (its flag -resource-prefix).
	Prefix string `json:"resourcePrefix,omitempty"`
	// Name is the rest.
	Name string `json:"resourceName"`
	// Type is netDevice, accelerator or auxNetDevice; empty: netDevice.
	Type string `json:"deviceType,omitempty"`
	// ExcludeTopology keeps NUMA nodes out of the kubelet's decision.
	ExcludeTopology bool `json:"excludeTopology,omitempty"`
	// Selectors are which functions; one that any selector takes is taken.
	Selectors Selectors `json:"selectors,omitempty"`
	// AdditionalInfo is given to containers as it is, by address or "*".
	AdditionalInfo map[string]map[string]string `json:"additionalInfo,omitempty"`
}

// FullName is how pods ask for it.
func (r *Resource) FullName() string {
	if r.Prefix == "" {
		return r.Name
	}
	return r.Prefix + "/" + r.Name
}

// Selectors are a list, or one that stands alone.
type Selectors []Selector

// UnmarshalJSON reads both. What it does not know is an error, as it is everywhere in
// a configuration.
func (s *Selectors) UnmarshalJSON(text []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
		var list []Selector
		err := strict(text, &list)
		*s = list
		return err
	}
	var one Selector
	err := strict(text, &one)
	*s = Selectors{one}
	return err
}

// Selector takes the functions that are in each of its lists; an empty list is no
// condition.
type Selector struct {
	// Vendors and Devices are PCI ids, of four hexadecimal digits.
	Vendors []string `json:"vendors,omitempty"`
	Devices []string `json:"devices,omitempty"`
	// Drivers are kernel drivers.
	Drivers []string `json:"drivers,omitempty"`
	// PCIAddresses are functions' own.
	PCIAddresses []string `json:"pciAddresses,omitempty"`
	// ACPIIndexes are the firmware's numbers of functions.
	ACPIIndexes []string `json:"acpiIndexes,omitempty"`
	// AuxTypes are types of auxiliary devices: sf.
	AuxTypes []string `json:"auxTypes,omitempty"`
	// PFNames are physical functions' interfaces, and RootDevices their addresses; both
	// may be followed by # and numbers or ranges of virtual functions.
	PFNames     []string `json:"pfNames,omitempty"`
	RootDevices []string `json:"rootDevices,omitempty"`
	// LinkTypes are ether and infiniband.
	LinkTypes []string `json:"linkTypes,omitempty"`
	// DDPProfiles are names of Intel's packet profiles.
	DDPProfiles []string `json:"ddpProfiles,omitempty"`
	// PKeys are InfiniBand's partitions.
	PKeys []string `json:"pKeys,omitempty"`
	// IsRDMA takes only functions with RDMA, and gives containers their nodes.
	IsRDMA bool `json:"isRdma,omitempty"`
	// NeedVhostNet gives containers /dev/vhost-net.
	NeedVhostNet bool `json:"needVhostNet,omitempty"`
	// VDPAType is vhost or virtio.
	VDPAType string `json:"vdpaType,omitempty"`
}

// MaxBytes bounds a configuration: a ConfigMap has no more.
const MaxBytes = 1 << 20

// Parse reads the plugin's file.
func Parse(text []byte) (*Config, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), MaxBytes)
	}
	var c Config
	if err := strict(text, &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// strict decodes all of a text, and nothing that it does not know.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("not a configuration of the device plugin: %w", unwrapped(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not a configuration of the device plugin: something follows it")
	}
	return nil
}

// unwrapped leaves out what an inner strict has said already.
func unwrapped(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "not a configuration") {
		return inner
	}
	return err
}

// Set adds a resource, in the place of one of the same name if there is one.
func (c *Config) Set(r Resource) {
	for i := range c.ResourceList {
		if c.ResourceList[i].FullName() == r.FullName() {
			c.ResourceList[i] = r
			return
		}
	}
	c.ResourceList = append(c.ResourceList, r)
}

// JSON is the plugin's file.
func (c *Config) JSON() (string, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return out.String(), nil
}
