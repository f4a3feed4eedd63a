package device

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

// Grant is a device that a container was given, by the word of who gave it.
type Grant struct {
	// Address of the device on the PCI bus, such as 0000:3b:00.3. Empty: it is not on
	// one, as that of soft-RoCE is not.
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

// Grants reads what is said in the environment, given as NAME=VALUE, of a resource such as
// openshift.io/rdma_vf; of an empty one, what is said of all resources. It returns the
// devices by address; none and no error if the container has none. An error has at
// most [MaxMessage] bytes.
func Grants(environ []string, resource string) ([]Grant, error) {
	env := make(map[string]string, len(environ))
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	names := variables(resource)
	if resource == "" {
		names = granting(env)
	}
	all := make(map[string]Grant)
	for _, name := range names {
		addresses, ok := env[name]
		if !ok {
			continue
		}
		grants, err := decode(addresses, describedBy(env, name))
		if err != nil {
			return nil, errors.New(clip(name + ": " + err.Error())) // quotes what may be long
		}
		for _, g := range grants {
			all[g.Address] = g
		}
		if resource != "" {
			break // of two spellings, one
		}
	}
	if len(all) > maxGrants {
		return nil, fmt.Errorf("%d devices: want at most %d", len(all), maxGrants)
	}
	grants := slices.Collect(maps.Values(all))
	slices.SortFunc(grants, func(a, b Grant) int { return strings.Compare(a.Address, b.Address) })
	return grants, nil
}

// Prefixes of the variables that name devices: of the SR-IOV network device plugin's
// are two for each resource, of the SR-IOV DRA driver's one for each device.
const (
	pluginPrefix = "PCIDEVICE_"
	driverPrefix = "SRIOVNETWORK_VF_DEVICE_"
)

// granting are all variables that name devices, sorted. Those of devices that are not
// PCI functions, or that are given to no kernel driver, tell nothing about RDMA.
func granting(env map[string]string) (names []string) {
	for name, value := range env {
		if !strings.HasPrefix(name, pluginPrefix) && !strings.HasPrefix(name, driverPrefix) {
			continue
		}
		if _, err := parseAddresses(value); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// describedBy is the description that belongs to a variable; empty: there is none.
func describedBy(env map[string]string, name string) string {
	text := env[name+"_INFO"]
	// That is also the variable of a resource whose name ends so.
	if _, err := parseAddresses(text); err == nil {
		return ""
	}
	return text
}

// variables are the names that the addresses of a resource can have: with each
// character that is neither letter nor digit replaced, as the plugin's documents
// say, and with hyphens left, as its code does.
func variables(resource string) []string {
	spell := func(keep string) string {
		return pluginPrefix + strings.Map(func(r rune) rune {
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
