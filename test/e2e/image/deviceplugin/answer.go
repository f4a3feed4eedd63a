package deviceplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Device is a virtual function, and what the kernel calls its RDMA device.
type Device struct {
	Address string // 0000:3b:00.2
	RDMA    string // mlx5_2
	Index   int    // of /dev/infiniband/uverbs2
}

// ParseDevices takes PCI addresses, separated by commas: the first is mlx5_0, and so on.
func ParseDevices(addresses string) ([]Device, error) {
	if addresses == "" {
		return nil, errors.New("--devices: which?")
	}
	form := regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	var devices []Device
	seen := make(map[string]bool)
	for i, address := range strings.Split(addresses, ",") {
		if !form.MatchString(address) || seen[address] {
			return nil, fmt.Errorf("--devices: %q is not a PCI address, or is there twice; want 0000:3b:00.2", address)
		}
		seen[address] = true
		devices = append(devices, Device{Address: address, RDMA: fmt.Sprintf("mlx5_%d", i), Index: i})
	}
	return devices, nil
}

// nodes of a device in a container and on its node.
type nodes struct {
	Uverbs string `json:"uverbs,omitempty"`
	Umad   string `json:"umad,omitempty"`
	Issm   string `json:"issm,omitempty"`
	CM     string `json:"rdma_cm,omitempty"`
}

const infiniband = "/dev/infiniband/"

func (d Device) nodes() nodes {
	return nodes{
		Uverbs: fmt.Sprintf(infiniband+"uverbs%d", d.Index),
		Umad:   fmt.Sprintf(infiniband+"umad%d", d.Index),
		Issm:   fmt.Sprintf(infiniband+"issm%d", d.Index),
		CM:     infiniband + "rdma_cm",
	}
}

// Nodes are the device's files in a node's /dev.
func (d Device) Nodes() []string { return d.nodes().all() }

func (n nodes) all() []string { return []string{n.Uverbs, n.Umad, n.Issm, n.CM} }

// about is an address' entry in PCIDEVICE_RESOURCE_INFO.
type about struct {
	Generic struct {
		DeviceID string `json:"deviceID"`
	} `json:"generic"`
	RDMA struct {
		nodes
		Device string `json:"rdma_dev"`
	} `json:"rdma"`
}

// variable is the name of the environment variable of a resource: dots and the
// slash become underscores, and nothing else does, not even a hyphen.
func variable(resource string) string {
	return "PCIDEVICE_" + strings.ToUpper(strings.NewReplacer(".", "_", "/", "_").Replace(resource))
}

// answer is what a container gets that these devices are allocated to.
func (c Config) answer(devices []Device) (*api.ContainerAllocateResponse, error) {
	addresses := make([]string, 0, len(devices))
	info := make(map[string]about, len(devices))
	response := &api.ContainerAllocateResponse{}
	given := make(map[string]bool) // rdma_cm is the same for all
	for _, d := range devices {
		addresses = append(addresses, d.Address)
		var a about
		a.Generic.DeviceID, a.RDMA.Device = d.Address, d.RDMA
		if c.Nodes {
			a.RDMA.nodes = d.nodes()
		}
		info[d.Address] = a
		for _, path := range a.RDMA.all() {
			if path != "" && !given[path] {
				given[path] = true
				response.Devices = append(response.Devices, &api.DeviceSpec{HostPath: path, ContainerPath: path, Permissions: "rw"})
			}
		}
	}
	if c.Sysfs != "" {
		// Directories that every sysfs has; nothing can be mounted where there is none.
		for _, dir := range []string{"bus/pci/devices", "class/net"} {
			response.Mounts = append(response.Mounts, &api.Mount{ContainerPath: "/sys/" + dir, HostPath: filepath.Join(c.Sysfs, dir), ReadOnly: true})
		}
	}
	name := variable(c.Resource)
	response.Envs = map[string]string{name: strings.Join(addresses, ",")}
	if c.Info {
		text, err := json.Marshal(info)
		if err != nil {
			return nil, fmt.Errorf("%s_INFO: %w", name, err)
		}
		response.Envs[name+"_INFO"] = string(text)
	}
	return response, nil
}
