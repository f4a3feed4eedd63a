package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Open is a call that has not ended.
type Open struct {
	Server string        `json:"server,omitempty"` // of several on one page
	Method string        `json:"method"`
	XID    string        `json:"xid,omitempty"`
	State  string        `json:"state"` // waiting (in a lane, or for results), queued, starting, running
	Peer   string        `json:"client"`
	Via    string        `json:"transport"`
	Trace  string        `json:"trace,omitempty"` // W3C trace context
	Age    time.Duration `json:"age"`             // since its arrival, ns
	For    time.Duration `json:"runs_for"`        // since its start, ns; 0: it has not started
	Left   time.Duration `json:"left,omitempty"`  // until its deadline, ns; 0: it has none
}

// Calls returns the calls that are open, the oldest first.
func (c *Core) Calls() []Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	all := make([]Open, 0, c.active)
	c.domain.Open(func(e *session.Entry, state string) {
		if j := jobOf(e); j != nil {
			o := j.open(now, state)
			o.XID = e.XID().String()
			all = append(all, o)
		}
	})
	outside := func(l *fifo.List[*Job], state string) {
		for n := l.Head(); n != nil; n = n.Next() {
			if n.Value.entry == nil {
				all = append(all, n.Value.open(now, state))
			}
		}
	}
	outside(&c.outside, "queued")
	outside(&c.running, "running")
	outside(&c.long, "running")
	slices.SortStableFunc(all, func(a, b Open) int { return cmp.Compare(b.Age, a.Age) })
	return all
}

// open is what a page says of a job.
func (j *Job) open(now time.Duration, state string) Open {
	o := Open{State: state, Peer: j.Peer(), Via: j.via().String(), Trace: wire.FormatTrace(j.Trace), Age: now - j.arrived}
	if j.Method != nil {
		o.Method = j.Method.Name
	}
	if state == "running" {
		o.For = now - j.started
	}
	if j.deadline != 0 {
		o.Left = j.deadline - now
	}
	return o
}

// mostShown is how many calls of one server a page shows.
const mostShown = 1000

// ServeHTTP shows what the core is doing: the page /debug/rpc.
func (c *Core) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	Page(func(show func(string, *Core)) { show("", c) }).ServeHTTP(w, r)
}

// Page shows what servers of one process are doing, as text, or as JSON (a list of [Open]) to
// who accepts that. cores calls show with each of them, and its name if there are several.
func Page(cores func(show func(name string, c *Core))) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.Header.Get("Accept") != "application/json" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			cores(func(name string, c *Core) { c.print(w, name) })
			return
		}
		all := []Open{}
		cores(func(name string, c *Core) {
			for _, o := range c.Calls() {
				o.Server = name
				all = append(all, o)
			}
		})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all) // whoever asked has gone
	})
}

func (c *Core) print(w io.Writer, name string) {
	n, calls := c.Counts(), c.Calls()
	if name != "" {
		fmt.Fprintf(w, "server %s\n", name)
	}
	fmt.Fprintf(w, "%d calls run, %d wait; %d sessions with %d calls in the table, %d bytes of replies\n", n.Running, n.Waiting, n.Sessions, n.Entries, n.Bytes)
	fmt.Fprintf(w, "%d duplicates, %d stale, %d refused, %d sessions expired, %d replies dropped\n\n", n.Duplicates, n.Stale, n.Refusals, n.Expired, n.Dropped)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "METHOD\tSTATE\tXID\tCLIENT\tTRANSPORT\tAGE\tRUNS FOR\tLEFT")
	for _, o := range calls[:min(len(calls), mostShown)] {
		fmt.Fprintf(t, "%q\t%s\t%s\t%s\t%s\t%v\t%s\t%s\n", o.Method, o.State, cmp.Or(o.XID, "-"), cmp.Or(o.Peer, "-"), o.Via,
			o.Age.Round(time.Millisecond), short(o.For), short(o.Left))
	}
	_ = t.Flush()
	if more := len(calls) - mostShown; more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	fmt.Fprintln(w)
}

func short(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(time.Millisecond).String()
}
