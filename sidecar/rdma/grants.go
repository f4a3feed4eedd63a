package rdma

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what is read from the environment. A container gets a handful of
// devices, and a description has some hundred bytes.
const (
	maxGrants    = 64
	maxAddresses = 4 << 10
	maxInfo      = 64 << 10
)

// Grant is a device that the plugin granted, by the plugin's word.
type Grant struct {
	// Address of the device on the PCI bus, such as 0000:3b:00.3.
	Address string
	// Device is its RDMA device, such as mlx5_4, and Verbs its node, such as
	// /dev/infiniband/uverbs4, when the container was made. Empty: not said.
	Device, Verbs string
}

var (
	pciAddress = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	deviceName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,63}$`)
	verbsNode  = regexp.MustCompile(`^/dev/infiniband/uverbs[0-9]{1,6}$`)
)

// Grants reads what the device plugin says of a resource, such as
// openshift.io/rdma_vf. It returns the devices by address; none and no error if
// the container has none. An error has at most [MaxMessage] bytes. lookup is
// os.LookupEnv.
func Grants(lookup func(string) (string, bool), resource string) ([]Grant, error) {
	for _, name := range variables(resource) {
		addresses, ok := lookup(name)
		if !ok {
			continue
		}
		info, _ := lookup(name + "_INFO")
		// That is also the variable of a resource whose name ends so.
		if _, err := parseAddresses(info); err == nil {
			info = ""
		}
		grants, err := decode(addresses, info)
		if err != nil {
			return nil, errors.New(clip(name + ": " + err.Error())) // quotes what may be long
		}
		return grants, nil
	}
	return nil, nil
}

// variables are the names that the addresses of a resource can have: with each
// character that is neither letter nor digit replaced, as the plugin's documents
// say, and with hyphens left, as its code does.
func variables(resource string) []string {
	spell := func(keep string) string {
		return "PCIDEVICE_" + strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(keep, r) {
				return r
			}
			return '_'
		}, strings.ToUpper(resource))
	}
	return slices.Compact([]string{spell("-"), spell("")})
}

// decode reads both variables; info may be empty.
func decode(addresses, info string) ([]Grant, error) {
	list, err := parseAddresses(addresses)
	if err != nil {
		return nil, err
	}
	details, err := parseInfo(info)
	if err != nil {
		return nil, fmt.Errorf("_INFO: %w", err)
	}
	grants := make([]Grant, 0, len(list))
	for _, address := range list {
		grant := details[address]
		grant.Address = address
		grants = append(grants, grant)
	}
	return grants, nil
}

// parseAddresses returns the addresses, sorted.
func parseAddresses(text string) ([]string, error) {
	if len(text) > maxAddresses {
		return nil, fmt.Errorf("%d bytes of addresses: want at most %d", len(text), maxAddresses)
	}
	list := strings.Split(text, ",")
	if len(list) > maxGrants {
		return nil, fmt.Errorf("%d devices: want at most %d", len(list), maxGrants)
	}
	for _, address := range list {
		if !pciAddress.MatchString(address) {
			return nil, fmt.Errorf("%.40q is not a PCI address", address)
		}
	}
	slices.Sort(list)
	if distinct := len(slices.Compact(slices.Clone(list))); distinct != len(list) {
		return nil, errors.New("an address occurs twice")
	}
	return list, nil
}

// description is what the plugin says of one device, as far as it is of use
// here.
type description struct {
	Generic struct {
		DeviceID string `json:"deviceID"`
	} `json:"generic"`
	RDMA struct {
		Device string `json:"rdma_dev"`
		Verbs  string `json:"uverbs"`
	} `json:"rdma"`
}

// parseInfo reads the JSON of the second variable, by address.
func parseInfo(text string) (map[string]Grant, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxInfo {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxInfo)
	}
	var said map[string]description
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return nil, fmt.Errorf("not what the plugin writes: %w", err)
	}
	details := make(map[string]Grant, len(said))
	for _, address := range slices.Sorted(maps.Keys(said)) { // the same error each time
		s := said[address]
		switch id, device, verbs := s.Generic.DeviceID, s.RDMA.Device, s.RDMA.Verbs; {
		case id != "" && id != address:
			return nil, fmt.Errorf("%.40q is called %.40q", address, id)
		case device != "" && !deviceName.MatchString(device):
			return nil, fmt.Errorf("%.40q: %.80q is not the name of a device", address, device)
		case verbs != "" && !verbsNode.MatchString(verbs):
			return nil, fmt.Errorf("%.40q: %.80q is not a node such as /dev/infiniband/uverbs0", address, verbs)
		default:
			details[address] = Grant{Device: device, Verbs: verbs}
		}
	}
	return details, nil
}
