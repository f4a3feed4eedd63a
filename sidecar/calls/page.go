package calls

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/rdma/keeper"
	"rpcpool.dev/rpc/server"
)

// Listing is the page about blobs, for programs.
type Listing struct {
	shm.Listing

	Far  Far   `json:"far"`
	RDMA *RDMA `json:"rdma,omitempty"` // nil: no devices were promised
}

// Far is how the bytes of blobs went to and from clients of other machines.
type Far struct {
	Connection      uint64            `json:"connection"` // transfers
	ConnectionBytes uint64            `json:"connectionBytes"`
	Mover           uint64            `json:"mover"` // transfers past the connection: by RDMA
	MoverBytes      uint64            `json:"moverBytes"`
	Fallbacks       map[string]uint64 `json:"fallbacks"` // by reason
}

// RDMA is what the server has of devices.
type RDMA struct {
	Mode            string            `json:"mode"`
	Device          string            `json:"device"`        // that is open; empty: none
	Why             string            `json:"why,omitempty"` // nothing goes by it; empty: it does
	Opens           uint64            `json:"opens"`
	QueuePairs      int64             `json:"queuePairs"`
	Broken          uint64            `json:"queuePairsBroken"`
	Pulls           uint64            `json:"pulls"`
	PulledBytes     uint64            `json:"pulledBytes"`
	Failed          map[string]uint64 `json:"failed"` // pulls, by reason
	Registrations   uint64            `json:"registrations"`
	RegisteredBytes int64             `json:"registeredBytes"`
	Stuck           uint64            `json:"stuck"`
}

func farOf(m remote.Moved) Far {
	return Far{Connection: m.Conn, ConnectionBytes: m.ConnBytes, Mover: m.Mover, MoverBytes: m.MoverBytes, Fallbacks: m.Why}
}

// listing is nil if no devices were promised.
func (d *devices) listing() *RDMA {
	if d == nil {
		return nil
	}
	return rdmaOf(string(d.mode), d.keeper.Status())
}

func rdmaOf(mode string, s keeper.Status) *RDMA {
	n := s.Counts
	r := &RDMA{
		Mode: mode, Device: s.Device, Opens: s.Opens, QueuePairs: n.Queues, Broken: n.QueuesBroken, Pulls: n.Pulls, PulledBytes: n.PulledBytes,
		Failed: map[string]uint64{}, Registrations: n.Registrations, RegisteredBytes: n.RegisteredBytes, Stuck: n.Stuck,
	}
	for reason, times := range n.Failed {
		r.Failed[string(reason)] = times
	}
	if s.Why != nil {
		r.Why = s.Why.Error()
	}
	return r
}

// Write writes how bytes went, for people, in one line or two. What others have said is cleaned.
func (l *Listing) Write(w io.Writer, clean func(string) string) {
	fmt.Fprintf(w, "transfers of other machines: %d of %d bytes by connections, %d of %d bytes by RDMA%s\n",
		l.Far.Connection, l.Far.ConnectionBytes, l.Far.Mover, l.Far.MoverBytes, reasons("; not by RDMA", l.Far.Fallbacks, clean))
	r := l.RDMA
	if r == nil {
		return
	}
	state := "no device is open"
	if r.Device != "" {
		state = clean(r.Device) + " is open"
	}
	if r.Why != "" {
		state += ", and nothing goes by it: " + clean(r.Why)
	}
	fmt.Fprintf(w, "RDMA %s: %s; %d queue pairs, %d have broken; %d pulls of %d bytes%s; %d bytes are registered, in all %d times; %d regions are stuck; devices opened %d times\n",
		clean(r.Mode), state, r.QueuePairs, r.Broken, r.Pulls, r.PulledBytes, reasons(", failed", r.Failed, clean), r.RegisteredBytes, r.Registrations, r.Stuck, r.Opens)
}

// reasons are counts by a word, sorted.
func reasons(what string, counts map[string]uint64, clean func(string) string) string {
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", clean(reason), counts[reason]))
	}
	if words == nil {
		return ""
	}
	return what + ": " + strings.Join(words, ", ")
}

// BlobsPage shows who has which blob, and how bytes went, as text or as a [Listing]; nil if
// there are none.
func (s *Server) BlobsPage() http.Handler {
	if s.blobs == nil {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		snapshot := s.blobs.Snapshot()
		l := Listing{Listing: shm.List(snapshot), Far: farOf(s.blobs.Moved()), RDMA: s.opts.devices.listing()}
		w.Header().Set("Cache-Control", "no-store")
		if r.Header.Get("Accept") == "application/json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(&l) // whoever asked has gone
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		l.Write(w, func(s string) string { return s })
		_ = shm.WriteTable(w, snapshot) // whoever asked has gone
	})
}

// BlobsPage is that of the server that it is now.
func (m *Member) BlobsPage() http.Handler {
	if m.opts.Blobs.Off {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.server.Load()
		if s == nil || s.blobs == nil {
			http.Error(w, "there are no blobs now", http.StatusServiceUnavailable)
			return
		}
		s.BlobsPage().ServeHTTP(w, r)
	})
}

// CallsPage shows which calls are open.
func (s *Server) CallsPage() http.Handler { return s.core }

// Core is the core of the server that it is now; nil while it joins.
func (m *Member) Core() *server.Core {
	if s := m.server.Load(); s != nil {
		return s.core
	}
	return nil
}

// CallsPage is that of the server that it is now.
func (m *Member) CallsPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := m.Core()
		if c == nil {
			http.Error(w, "it takes no calls now", http.StatusServiceUnavailable)
			return
		}
		c.ServeHTTP(w, r)
	})
}
