// Package export shows the clients of a process to Prometheus. A collector reads a client at
// each scrape and owns no state: a crash loses nothing. No label grows with calls, methods or
// servers.
//
//	c, err := rpc.Dial(opts, addresses...)
//	m, err := export.Register(prometheus.DefaultRegisterer, "library", c)
//	defer m.Unregister()
package export

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/session"
)

// Source is what a [Collector] reads; an [rpcpool.dev/rpc.Client] is one.
type Source interface{ Counts() client.Counts }

// Collector shows one client.
type Collector struct {
	source     Source
	registerer prometheus.Registerer

	calls, sent, replies, sessions, dials, ends, bytes *prometheus.Desc
	won, exhausted, messages, batches                  *prometheus.Desc
	open, servers, conns                               *prometheus.Desc
	took                                               *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// Register makes the collector of the client of a service, and registers it. It fails if that
// of another client of the service is registered already.
func Register(r prometheus.Registerer, service string, source Source) (*Collector, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rpcpool_rpc_client_"+name, help, labels, prometheus.Labels{"service": service})
	}
	c := &Collector{
		source: source, registerer: r,
		calls:     desc("calls_total", "Calls that have ended at the client, by code and by whether they ran. One that is hedged or repeated is several.", "code", "execution"),
		took:      desc("call_seconds", "Time of calls at the client, from when they are made until their end: what the server's wait and run do not explain is the way."),
		sent:      desc("again_total", "Calls that were sent another time: to the same server after a loss (resend), to another server (move), or to a second one as they were late (hedge).", "why"),
		won:       desc("hedges_won_total", "Of the calls that were sent to a second server as they were late: the second had the answer."),
		exhausted: desc("budget_exhausted_total", "Refused calls that were tried nowhere else, as too many are refused."),
		replies:   desc("late_replies_total", "Replies to calls that had their outcome."),
		sessions:  desc("sessions_lost_total", "Sessions that a server did not know any more."),
		dials:     desc("dials_total", "Attempts to connect, by result: ok or failed.", "result"),
		ends:      desc("connections_closed_total", "Connections that were closed: idle, or silent (the server answered no ping).", "reason"),
		messages:  desc("messages_sent_total", "Messages that were queued for servers: calls, items, acks and pings."),
		batches:   desc("message_batches_total", "Batches in which they were written, mostly by one write each; a long message is several. Messages by batches is how many share a write."),
		bytes:     desc("compressed_bytes_total", "Bytes of compressed bodies, sent or received, plain and as they were on the way.", "direction", "form"),
		open:      desc("open_calls", "Calls that are at servers."),
		servers:   desc("servers", "Servers that are known."),
		conns:     desc("connections", "Connections to them."),
	}
	if err := r.Register(c); err != nil {
		return nil, fmt.Errorf("metrics of the client of %q: %w", service, err)
	}
	return c, nil
}

// Unregister takes the metrics out of where [Register] put them.
func (c *Collector) Unregister() { c.registerer.Unregister(c) }

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.calls, c.took, c.sent, c.won, c.exhausted, c.replies, c.sessions, c.dials, c.ends, c.messages, c.batches, c.bytes, c.open, c.servers, c.conns,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	n := c.source.Counts()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for code := range session.Codes {
		for ran := range session.Executed + 1 {
			if v := n.Ends[code][ran]; v > 0 || code == session.OK && ran == session.Executed {
				count(c.calls, v, code.String(), ran.String())
			}
		}
	}
	all, upTo := n.Took.Cumulative()
	ch <- prometheus.MustNewConstHistogram(c.took, all, n.Took.Sum.Seconds(), upTo)
	count(c.sent, n.Resends, "resend")
	count(c.sent, n.Moves, "move")
	count(c.sent, n.Hedged, "hedge")
	count(c.won, n.HedgesWon)
	count(c.exhausted, n.Exhausted)
	count(c.replies, n.Late)
	count(c.sessions, n.Lost)
	count(c.dials, n.Sockets.Dials-n.Sockets.Failed, "ok")
	count(c.dials, n.Sockets.Failed, "failed")
	count(c.ends, n.Sockets.Reaped, "idle")
	count(c.ends, n.Sockets.Silent, "silent")
	count(c.messages, n.Sockets.Messages)
	count(c.batches, n.Sockets.Batches)
	count(c.bytes, n.Packed.Plain, "sent", "plain")
	count(c.bytes, n.Packed.Packed, "sent", "packed")
	count(c.bytes, n.Packed.Gave, "received", "plain")
	count(c.bytes, n.Packed.Took, "received", "packed")
	for d, v := range map[*prometheus.Desc]int{c.open: n.Open, c.servers: n.Servers, c.conns: n.Conns} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
}
