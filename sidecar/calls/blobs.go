package calls

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
)

// BlobOptions say what memory clients and workers may have at a server. The zero value of each
// field means its default.
type BlobOptions struct {
	Off    bool        // all bytes are in messages
	Limits blob.Limits // see there
	Socket string      // for clients on this machine; @NAME is an abstract one. Default: an abstract one of a random name
	Huge   bool        // huge pages, for what clients of other machines put
}

// register adds the flags.
func (o *BlobOptions) register(flags *flag.FlagSet, on *bool) {
	flags.BoolVar(on, "blobs", true, "long arguments and results go by memory that clients and workers on this machine share; false: all in messages")
	flags.Uint64Var(&o.Limits.Memory, "blob-memory", 4<<30, "`bytes` of memory for all blobs")
	flags.Uint64Var(&o.Limits.PartyBytes, "blob-client-bytes", 1<<30, "`bytes` of blobs that one client may have")
	flags.Uint64Var(&o.Limits.PartyBlobs, "blob-client-count", 1<<16, "`blobs` that one client may have")
	flags.BoolVar(&o.Huge, "blob-huge-pages", false, "2 MiB pages for what clients of other machines put, as long as the system has set some aside")
	flags.StringVar(&o.Socket, "blob-socket", "", "`PATH` of the Unix socket by which clients get to blobs; @NAME is an abstract one; empty: an abstract one of a random name")
}

// complete takes what no flag has said from the environment, of flags whose names begin so:
// --blob-memory is RPCPOOL_BLOB_MEMORY there.
func (f *Flags) complete(prefixes ...string) error {
	said := map[string]bool{}
	f.set.Visit(func(g *flag.Flag) { said[g.Name] = true })
	some := flag.NewFlagSet("", flag.ContinueOnError)
	f.set.VisitAll(func(g *flag.Flag) {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(g.Name, p) }) {
			some.Var(g.Value, g.Name, g.Usage)
		}
	})
	return fromEnvironment(some, func(name string) bool { return said[name] })
}

func (o *BlobOptions) check() error {
	for name, n := range map[string]uint64{
		"--blob-memory": o.Limits.Memory, "--blob-client-bytes": o.Limits.PartyBytes, "--blob-client-count": o.Limits.PartyBlobs,
	} {
		if n == 0 {
			return fmt.Errorf("%s: 0 is not positive", name)
		}
	}
	return nil
}

// openBlobs starts the host of blobs, where there can be one.
func (s *Server) openBlobs() error {
	o := &s.opts.Blobs
	if o.Off {
		return nil
	}
	h, err := local.New(local.Options{
		Options: shm.Options{Limits: o.Limits, Segment: o.Limits.Memory / 8, HugePages: o.Huge, Logger: s.opts.Log}, Socket: o.Socket, Far: remote.ServerOptions{Mover: s.opts.devices.mover()},
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err == nil {
		s.blobs = h
	}
	return err //nolint:wrapcheck // it says all
}

// Blobs returns what clients and workers have, without who has what; ok is false if there are none.
func (s *Server) Blobs() (_ blob.Snapshot, ok bool) {
	if s.blobs == nil {
		return blob.Snapshot{}, false
	}
	return s.blobs.Counts(), true
}

// blobMetrics are about the memory that is shared.
type blobMetrics struct {
	live, parties, lent, segments, bytes, made, refused, moved, movedBytes, fellBack *prometheus.Desc
}

func newBlobMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) blobMetrics {
	return blobMetrics{
		live:       desc("blobs", "Blobs that somebody has. At rest, when all clients have gone, there are none."),
		parties:    desc("blob_parties", "Clients and workers that may have blobs."),
		lent:       desc("blob_calls", "Calls that have borrowed blobs."),
		segments:   desc("blob_segments", "Segments of memory for blobs."),
		bytes:      desc("blob_bytes", "Bytes of the segments. Their pages are charged to the container that touches them first."),
		made:       desc("blob_allocations_total", "Blobs that were made."),
		refused:    desc("blob_refusals_total", "What clients, workers and calls were refused: over a limit (quota), in use by others (busy), the system gives the server no memory or no descriptor (memory), the process cannot map it (unmapped), or no right to it (other).", "reason"),
		moved:      desc("blob_transfers_total", "Transfers of bytes to and from clients of other machines: over their connections (connection), or past them, as by RDMA (mover).", "way"),
		movedBytes: desc("blob_transfer_bytes_total", "Bytes of these.", "way"),
		fellBack:   desc("blob_fallbacks_total", "Transfers that a mover, such as RDMA, was to make and could not, by its reason.", "reason"),
	}
}

func (m *blobMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.live, m.parties, m.lent, m.segments, m.bytes, m.made, m.refused, m.moved, m.movedBytes, m.fellBack} {
		ch <- d
	}
}

func (m *blobMetrics) collect(ch chan<- prometheus.Metric, n blob.Snapshot, far remote.Moved) {
	for way, v := range map[string]uint64{"connection": far.Conn, "mover": far.Mover} {
		ch <- prometheus.MustNewConstMetric(m.moved, prometheus.CounterValue, float64(v), way)
	}
	for way, v := range map[string]uint64{"connection": far.ConnBytes, "mover": far.MoverBytes} {
		ch <- prometheus.MustNewConstMetric(m.movedBytes, prometheus.CounterValue, float64(v), way)
	}
	for reason, v := range far.Why {
		ch <- prometheus.MustNewConstMetric(m.fellBack, prometheus.CounterValue, float64(v), reason)
	}
	for d, v := range map[*prometheus.Desc]float64{
		m.live: float64(n.Blobs), m.parties: float64(n.Parties), m.lent: float64(n.Calls), m.segments: float64(n.Segments), m.bytes: float64(n.Bytes),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	ch <- prometheus.MustNewConstMetric(m.made, prometheus.CounterValue, float64(n.Made))
	for reason, v := range map[string]uint64{"quota": n.Refused.Quota, "busy": n.Refused.Busy, "memory": n.Refused.Memory, "unmapped": n.Refused.Unmapped, "other": n.Refused.Other} {
		ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(v), reason)
	}
}
