package rpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/frame"
)

// joinBlobs gets at the blobs of a server by the ways that [client.BlobRoutes] says: near is by memory that is
// shared, away is by connections and movers.
func joinBlobs(near, away client.JoinBlobs, facts client.BlobFacts) client.JoinBlobs {
	return func(ctx context.Context, s *client.BlobServer) (client.Blobs, error) {
		f := facts
		f.Offered = true
		f.Socket = s.Offer.Socket != "" && s.Features&frame.FeatureSharedMemory != 0
		f.Bulk = s.Features&frame.FeatureBulk != 0
		s.Facts = f
		failed, wasAway := client.ErrNoBlobs, false
		for _, r := range client.BlobRoutes(&f) {
			join := near
			switch r.Way {
			case client.BlobsShared:
			case client.BlobsMover, client.BlobsConn:
				if wasAway { // that chooses between the two by itself, for each transfer
					continue
				}
				join, wasAway = away, true
			default:
				continue
			}
			b, err := join(ctx, s)
			if err == nil {
				return b, nil
			}
			if !errors.Is(err, client.ErrNoBlobs) {
				failed = err
			}
		}
		return nil, failed
	}
}

// Peers returns how this client reaches each of its servers, and why so.
func (c *Client) Peers() []client.PeerWay { return c.c.Peers() }

// PeersPage shows [Client.Peers], as text: for a debug page.
func (c *Client) PeersPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "SERVER\tADDRESS\tSTATE\tTRANSPORT\tREASON\tBLOBS\tREASON")
		for _, p := range c.Peers() {
			fmt.Fprintf(t, "%q\t%s\t%v\t%v\t%s\t%s\t%s\n", p.Server, p.Address, p.State, p.Route.Transport, p.Route.Reason, p.Blobs.Way, p.Blobs.Reason)
		}
		_ = t.Flush() // whoever asked has gone
	})
}
