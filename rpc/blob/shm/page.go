package shm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"rpcpool.dev/rpc/blob"
)

// Page shows who has which blob, for how long, and for which call: as text, for people, or as
// JSON (a [Listing]) to who accepts that. The function is that of a [Host].
func Page(snapshot func() blob.Snapshot) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "application/json" {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(List(snapshot())) // whoever asked has gone
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = WriteTable(w, snapshot()) // whoever asked has gone
	})
}

// WriteTable writes what a table holds.
func WriteTable(w io.Writer, s blob.Snapshot) error {
	fmt.Fprintf(w, "domain %x: %d blobs, %d parties, %d calls; %d segments of %d bytes\n\n",
		s.Domain[:4], s.Blobs, s.Parties, s.Calls, s.Segments, s.Bytes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BLOB\tSIZE\tMEMORY\tSTATE\tHOLDER\tUSE\tCALL\tAGE")
	for _, h := range s.Holdings {
		state, use, call := h.State.String(), h.Mode.String(), "-"
		if h.Dirty {
			state += ", dirty"
		}
		if h.Owner {
			use = "owner"
		}
		if h.Call != (blob.Call{}) {
			call = h.Call.String()
		}
		fmt.Fprintf(t, "%d.%d\t%d\t%d\t%s\t%q\t%s\t%s\t%v\n",
			h.ID, h.Generation, h.Size, h.Memory, state, h.Holder, use, call, h.Age.Round(time.Millisecond))
	}
	return t.Flush()
}
