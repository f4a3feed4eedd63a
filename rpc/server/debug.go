package server

import (
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/rpc/session"
)

// Observer is told how calls have ended. It must not wait, nor call the core.
type Observer interface {
	// Ended is told of a run that has ended: how long the call has waited for it, and how
	// long it took.
	Ended(method string, code session.Code, waited, took time.Duration)
}

// Running is a call that runs.
type Running struct {
	Method string
	XID    session.XID
	Peer   string        // the client's address
	Waited time.Duration // from its arrival until its start
	For    time.Duration // since its start
	Left   time.Duration // until its deadline; 0: it has none
}

// Calls returns the calls that run, the oldest first.
func (c *Core) Calls() []Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	all := make([]Running, 0, c.active)
	for _, l := range []*fifo.List[*Job]{&c.long, &c.running} {
		for n := l.Head(); n != nil; n = n.Next() {
			j := n.Value
			r := Running{Method: j.Method.Name, XID: j.xid, Peer: j.peer, Waited: max(j.started-j.arrived, 0), For: now - j.started}
			if j.deadline != 0 {
				r.Left = j.deadline - now
			}
			all = append(all, r)
		}
	}
	return all
}

// ServeHTTP shows what the core is doing, as text: the page /debug/rpc.
func (c *Core) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n, calls := c.Counts(), c.Calls()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%d calls run, %d wait; %d sessions with %d calls in the table, %d bytes of replies\n", n.Running, n.Waiting, n.Sessions, n.Entries, n.Bytes)
	fmt.Fprintf(w, "%d duplicates, %d stale, %d refused, %d sessions expired, %d replies dropped\n\n", n.Duplicates, n.Stale, n.Refusals, n.Expired, n.Dropped)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "METHOD\tXID\tCLIENT\tWAITED\tRUNS FOR\tLEFT")
	for _, r := range calls {
		left := "-"
		if r.Left != 0 {
			left = r.Left.Round(time.Millisecond).String()
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%v\t%v\t%s\n", r.Method, r.XID, r.Peer, r.Waited.Round(time.Microsecond), r.For.Round(time.Millisecond), left)
	}
	_ = t.Flush()
}
