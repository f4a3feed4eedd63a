package sriov

import (
	"fmt"
	"slices"
	"strings"
)

// Demand is what a pool wants of the plugin.
type Demand struct {
	Pool     string // NAMESPACE/NAME
	Resource string // such as openshift.io/rdma_vf
}

// Missing returns what pools want and the configuration does not give them: virtual
// functions with RDMA. prefix is
// the plugin's own, of resources that name none.
func (c *Config) Missing(prefix string, demands []Demand) (problems []string) {
	for _, d := range demands {
		i := slices.IndexFunc(c.ResourceList, func(r Resource) bool {
			if r.Prefix == "" {
				r.Prefix = prefix
			}
			return r.FullName() == d.Resource
		})
		switch {
		case i < 0:
			problems = append(problems, fmt.Sprintf("pool %s wants %s, which is not in the configuration", d.Pool, d.Resource))
		case typeOf(&c.ResourceList[i]) == auxNetDevice:
			problems = append(problems, fmt.Sprintf("pool %s wants %s, whose devices are %s: servers know their devices by PCI addresses, and subfunctions have none", d.Pool, d.Resource, auxNetDevice))
		case slices.ContainsFunc(c.ResourceList[i].Selectors, func(s Selector) bool { return !s.IsRDMA }):
			problems = append(problems, fmt.Sprintf("pool %s wants RDMA of %s, which has a selector without isRdma", d.Pool, d.Resource))
		}
	}
	return problems
}

// Split takes a resource's name apart.
func Split(resource string) (prefix, name string) {
	if prefix, name, found := strings.Cut(resource, "/"); found {
		return prefix, name
	}
	return "", resource
}
