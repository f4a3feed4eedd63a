package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
	"rpcpool.dev/sidecar/calls"
)

// namedFlags say which servers are called, by name.
type namedFlags struct {
	tracker string
	service string
	id      uint64
	rank    int64
	all     bool
}

// lookTimeout is how long a registry may take to say which servers there are.
const lookTimeout = 10 * time.Second

func (f *namedFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	addTrackerFlag(cmd, &f.tracker)
	flags.StringVar(&f.service, "service", "", "`NAME` of servers that joined the tracker's registry; one of them is called")
	flags.Uint64Var(&f.id, "server-id", 0, "with --service: call the server with this `number`, and no other; 0: any")
	flags.Int64Var(&f.rank, "rank", -1, "with --service: call the node with this `rank`, and no other; -1: any")
	flags.BoolVar(&f.all, "all", false, "with --service: call all servers, and print a line of JSON for each: rank, node, server, and result or error")
	cmd.MarkFlagsOneRequired("server", "service")
	cmd.MarkFlagsMutuallyExclusive("server", "service")
	cmd.MarkFlagsMutuallyExclusive("server-id", "rank", "all")
	for _, name := range []string{"tracker", "server-id", "rank", "all"} {
		cmd.MarkFlagsMutuallyExclusive("server", name)
	}
}

// finder knows the servers of a service.
type finder struct {
	registry *rpc.Client
	follower *naming.Follower
	client   *rpc.Client
}

// find asks the registry which servers there are.
func (f *namedFlags) find(ctx context.Context, toRegistry, o rpc.ClientOptions) (_ *finder, err error) {
	addr, err := trackerAddr(f.tracker)
	if err != nil {
		return nil, err
	}
	n := &finder{}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.registry, err = naming.Dial(toRegistry, addr); err != nil {
		return nil, usageErrorf("--tracker: %w", err)
	}
	n.follower = naming.Follow(n.registry, naming.FollowOptions{})
	o.Service, o.Node = f.service, calls.BootID()
	if n.client, err = rpc.NewClient(o); err != nil {
		return nil, err
	}
	if err := n.look(ctx); err != nil {
		return nil, fmt.Errorf("tracker %s: %w", addr, err)
	}
	if err := n.follower.Feed(f.service, n.client); err != nil {
		return nil, err
	}
	if len(n.follower.View().Service(f.service)) == 0 {
		return nil, fmt.Errorf("tracker %s: no server of service %q", addr, f.service)
	}
	return n, nil
}

// look waits until the registry has said anything.
func (n *finder) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	view := n.follower.View()
	for {
		changed := view.Changed()
		if view.Version() != 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err := n.follower.Err(); err != nil {
				return errors.New(oneLine(fmt.Errorf("its registry does not answer: %w", err)))
			}
			return fmt.Errorf("its registry does not answer: %w", ctx.Err())
		}
	}
}

func (n *finder) close() {
	if n.follower != nil {
		_ = n.follower.Close()
	}
	for _, c := range []*rpc.Client{n.client, n.registry} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// at is the option that addresses a certain server; nil: any.
func (f *namedFlags) at(n *finder) (rpc.CallOption, error) {
	switch {
	case f.id != 0:
		return n.follower.Server(f.service, f.id)
	case f.rank >= registry.MaxNodes || f.rank < -1:
		return nil, usageErrorf("--rank: %d is not between 0 and %d", f.rank, registry.MaxNodes-1)
	case f.rank >= 0:
		return n.follower.Rank(uint32(f.rank))
	}
	return nil, nil //nolint:nilnil // any server
}

// answered is what one of all servers has said.
type answered struct {
	Rank      uint32          `json:"rank"`
	Node      string          `json:"node"`
	Server    uint64          `json:"server,string"` // too long for many a reader of numbers
	Result    json.RawMessage `json:"result,omitempty"`
	Error     string          `json:"error,omitempty"`
	Execution string          `json:"execution,omitempty"` // of a call that failed
}

// callOf makes the call that the command line says.
type callOf func(context.Context, *rpc.Client, ...rpc.CallOption) ([]byte, error)

// callAll calls every server at once, and prints what they say in the order of ranks.
func (f *namedFlags) callAll(ctx context.Context, n *finder, call callOf, w io.Writer, cbor *codec.CBOR) error {
	servers := n.follower.View().Service(f.service)
	slices.SortFunc(servers, func(a, b registry.Server) int { return cmp.Compare(a.Node.Rank, b.Node.Rank) })
	lines := make([]answered, len(servers))
	var running sync.WaitGroup
	for i, s := range servers {
		lines[i] = answered{Rank: s.Node.Rank, Node: s.Node.ID, Server: s.ID}
		running.Go(func() {
			reply, err := call(ctx, n.client, rpc.At(s.Node.Endpoint().ID))
			lines[i].take(reply, err, cbor)
		})
	}
	running.Wait()
	failed := 0
	for _, a := range lines {
		if a.Error != "" {
			failed++
		}
		if err := json.NewEncoder(w).Encode(a); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d calls failed", failed, len(lines))
	}
	return nil
}

// take notes a server's answer.
func (a *answered) take(reply []byte, err error, cbor *codec.CBOR) {
	if err == nil {
		a.Result, err = cbor.ToJSON(nil, reply)
	}
	if err == nil {
		return
	}
	a.Error = oneLine(err)
	if e := (*rpc.Error)(nil); errors.As(err, &e) {
		a.Execution = e.Execution.String()
	}
}
