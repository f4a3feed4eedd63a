package deviceplugin

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Device is a virtual function, and what the kernel calls its RDMA device.
type Device struct {
	Address string // 0000:3b:00.2
	RDMA    string // mlx5_2
	Index   int    // of /dev/infiniband/uverbs2
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
