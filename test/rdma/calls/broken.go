//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/sidecar/calls"
)

const (
	// large takes so long that something can break in the midst of it: when an eighth of it
	// has crossed the network.
	large = 64 << 20
	midst = large / 8
	// moment is between two looks.
	moment = 100 * time.Millisecond
	// downtime of a link is more than the silence that a device has patience for.
	downtime = 4 * time.Second
	// enough is how long what has been broken may take to be used again.
	enough = 40 * time.Second
)

// linkDown: the server's link goes down while it has its device read an argument, and comes
// back. The call succeeds, by TCP, and the next ones go by RDMA again.
func linkDown(ctx context.Context, c *client, r *rpc.Client) error {
	if err := c.known(ctx, r); err != nil {
		return err
	}
	sent, before := noise(large, 5), r.BlobsMoved()
	if _, err := rpc.Call[struct{}](ctx, r, "Unplug", Break{Traffic: midst, For: downtime}); err != nil {
		return err
	}
	if err := c.look(ctx, r, sent); err != nil {
		return err
	}
	after := r.BlobsMoved()
	if after.Mover > before.Mover || after.Conn == before.Conn || after.Why[remote.ReasonPeer] == before.Why[remote.ReasonPeer] {
		return fmt.Errorf("the link was not down in mid-transfer, or nobody has noticed: %+v, before it were %+v", after, before)
	}
	return c.again(ctx, r)
}

// again waits until arguments go by RDMA again.
func (c *client) again(ctx context.Context, r *rpc.Client) error {
	sent := noise(size, 6)
	for end := time.Now().Add(enough); ; time.Sleep(moment) {
		before := r.BlobsMoved().MoverBytes
		if err := c.look(ctx, r, sent); err != nil {
			return err
		}
		if r.BlobsMoved().MoverBytes > before {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("RDMA is not used again: %v", r.BlobsMoved().Why)
		}
	}
}

// killedArgument: the server is killed while it has its device read an argument, and another
// one takes its place. The call has not run, and runs there.
func killedArgument(ctx context.Context, c *client, r *rpc.Client) error {
	if err := c.kill(ctx, r); err != nil {
		return err
	}
	if err := c.look(ctx, r, noise(large, 7)); err != nil {
		return err
	}
	if c.log.seen(remote.ReasonConn) == 0 {
		return errors.New("the server was not killed in mid-transfer")
	}
	return c.again(ctx, r)
}

// killedResult: the server is killed while the client has its device read a result. The call
// has run, its result is lost.
func killedResult(ctx context.Context, c *client, r *rpc.Client) error {
	if err := c.known(ctx, r); err != nil {
		return err
	}
	broken := c.keeper.Status().Counts.QueuesBroken
	err := c.noisy(ctx, r, Wanted{Length: large, Seed: 8, Kill: midst})
	if !errors.Is(err, rpc.ReplyLost) || !errors.Is(err, rpc.Executed) {
		return fmt.Errorf("the caller is told %w, and not that the result is lost", err)
	}
	fmt.Fprintf(c.stdout, "the caller is told: %v\n", err)
	if c.keeper.Status().Counts.QueuesBroken == broken {
		return errors.New("the server was not killed in mid-transfer")
	}
	return c.again(ctx, r)
}

// killedForGood: as killedArgument, and there is no other server.
func killedForGood(ctx context.Context, c *client, r *rpc.Client) error {
	if err := c.kill(ctx, r); err != nil {
		return err
	}
	begun := time.Now()
	err := c.look(ctx, r, noise(large, 9))
	if !errors.Is(err, rpc.NotExecuted) {
		return fmt.Errorf("the caller is told %w, and not that nothing has run", err)
	}
	if took := time.Since(begun); took > enough {
		return fmt.Errorf("after %s the caller is told %w", took, err)
	}
	fmt.Fprintf(c.stdout, "the caller is told: %v\n", err)
	return nil
}

// kill has the server killed in a moment.
func (c *client) kill(ctx context.Context, r *rpc.Client) error {
	if err := c.known(ctx, r); err != nil {
		return err
	}
	_, err := rpc.Call[struct{}](ctx, r, "Kill", Break{Traffic: midst})
	return err
}

// atRest: what the server says of itself when nobody has anything there.
func atRest(ctx context.Context, c *client, _ *rpc.Client) error {
	for end := time.Now().Add(enough); ; time.Sleep(moment) {
		l, err := c.listing(ctx)
		if err != nil {
			return err
		}
		if l.Blobs == 0 && l.RDMA != nil && l.RDMA.QueuePairs == 0 && l.RDMA.Stuck == 0 {
			fmt.Fprintf(c.stdout, "figure the server counts: %d transfers by RDMA, %d by TCP, %v fallbacks\n", l.Far.Mover, l.Far.Connection, l.Far.Fallbacks)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("left at the server: %d blobs, %+v", l.Blobs, l.RDMA)
		}
	}
}

// listing is the server's page of blobs.
func (c *client) listing(ctx context.Context) (l calls.Listing, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.pages+"/debug/blobs", nil)
	if err != nil {
		return l, err
	}
	req.Header.Set("Accept", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return l, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	return l, json.NewDecoder(answer.Body).Decode(&l)
}
