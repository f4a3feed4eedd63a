// Package export shows a registry to Prometheus. A collector reads the registry at each
// scrape and owns no state: a crash loses nothing. No label grows with nodes or services.
package export

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
)

// Source is what a [Collector] reads; a [naming.Host] is one, and a [naming.Server], which
// knows no connections.
type Source interface{ Counts() naming.Counts }

// Collector shows one registry.
type Collector struct {
	source     Source
	registerer prometheus.Registerer

	nodes, servers, services, watchers, waiting, locks, load, settling *prometheus.Desc
	epochs, departures, refusals, refused                              *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// Register makes the collector of a registry, and registers it. It fails if that of
// another one is registered already: several in one process need labels that tell them
// apart ([prometheus.WrapRegistererWith]).
func Register(r prometheus.Registerer, source Source) (*Collector, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rpcpool_registry_"+name, help, labels, nil)
	}
	c := &Collector{
		source: source, registerer: r,
		nodes:      desc("nodes", "Nodes of the registry, by state: alive, or suspect (it has not renewed its lease, and has to end its workers).", "state"),
		servers:    desc("servers", "Servers of all services."),
		services:   desc("services", "Names that servers have."),
		watchers:   desc("watchers", "Clients that are told of every change."),
		waiting:    desc("waiting", "Calls that wait for a lock or at a barrier."),
		locks:      desc("locks", "Locks that a node has."),
		load:       desc("load", "Calls that wait at all nodes, as they said with their last renewal."),
		settling:   desc("settling", "1 while the registry waits for the nodes of the one before it, and takes in no others."),
		epochs:     desc("epochs_total", "Epochs that were given: nodes that came as another instance than before."),
		departures: desc("departures_total", "Nodes that are gone: left (they said so) or lost (their lease was over).", "reason"),
		refusals:   desc("refusals_total", "Requests that the registry refused: malformed, twin (another instance has the node's name), settling, duplicate (another server has the id), fenced, unknown (register again) or full.", "reason"),
		refused:    desc("connections_refused_total", "Connections of clients of the registry that were refused: for a wrong token, or none (token), a handshake of TLS that failed (tls), no TLS where it must be or TLS where there is none (tls-mismatch), too many of them (overload), a handshake that took too long (timeout), or because they spoke something else (protocol).", "reason"),
	}
	if err := r.Register(c); err != nil {
		return nil, fmt.Errorf("metrics of the registry: %w", err)
	}
	return c, nil
}

// Unregister takes the metrics out of where [Register] put them.
func (c *Collector) Unregister() { c.registerer.Unregister(c) }

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.nodes, c.servers, c.services, c.watchers, c.waiting, c.locks, c.load, c.settling, c.epochs, c.departures, c.refusals, c.refused,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	n := c.source.Counts()
	show := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	show(c.nodes, prometheus.GaugeValue, float64(n.Nodes-n.Suspect), "alive")
	show(c.nodes, prometheus.GaugeValue, float64(n.Suspect), "suspect")
	settling := 0.0
	if n.Settling {
		settling = 1
	}
	show(c.settling, prometheus.GaugeValue, settling)
	show(c.load, prometheus.GaugeValue, float64(n.Load))
	for d, v := range map[*prometheus.Desc]int{
		c.servers: n.Servers, c.services: n.Services, c.watchers: n.Watchers, c.waiting: n.Waiting, c.locks: n.Locks,
	} {
		show(d, prometheus.GaugeValue, float64(v))
	}
	show(c.epochs, prometheus.CounterValue, float64(n.Epochs))
	show(c.departures, prometheus.CounterValue, float64(n.Left), "left")
	show(c.departures, prometheus.CounterValue, float64(n.Lost), "lost")
	for code := registry.Malformed; code < registry.Codes; code++ {
		show(c.refusals, prometheus.CounterValue, float64(n.Refusals[code]), code.String())
	}
	for why, v := range n.Refused {
		show(c.refused, prometheus.CounterValue, float64(v), conn.Refusal(why).String())
	}
}
