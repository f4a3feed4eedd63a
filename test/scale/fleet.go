//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// fleet is the servers in the pods: one for each pod that runs. A server does
// what the sidecar does at the tracker, and its sessions are pauses.
type fleet struct {
	ctx    context.Context //nolint:containedctx // that of all servers; hooks have none
	cancel context.CancelFunc
	done   sync.WaitGroup

	at       chan struct{} // closed by open
	address  string        // of the tracker
	key      string        // that they offer
	failures atomic.Int64  // connections that have failed

	mu      sync.Mutex
	servers map[types.UID]context.CancelFunc
	tickets map[string]*station // on offer
}

// station is one server.
type station struct {
	fleet     *fleet
	name, uid string
	tickets   int
	visits    chan visit
}

// visit is a client that has come with a ticket. The server closes over when the
// session has ended.
type visit struct {
	client string
	length time.Duration
	over   chan<- struct{}
}

func newFleet(ctx context.Context) *fleet {
	f := &fleet{at: make(chan struct{}), servers: map[types.UID]context.CancelFunc{}, tickets: map[string]*station{}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

// open tells the servers where the tracker is, and what to offer there.
func (f *fleet) open(address, key string) {
	f.address, f.key = address, key
	close(f.at)
}

// close ends all servers.
func (f *fleet) close() {
	f.cancel()
	f.done.Wait()
}

// running starts the server of a pod.
func (f *fleet) running(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.servers[pod.UID] != nil || f.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.servers[pod.UID] = cancel
	s := &station{fleet: f, name: pod.Name, uid: string(pod.UID), visits: make(chan visit, 1)}
	f.done.Go(func() { s.run(ctx) })
}

// deleting ends the server of a pod.
func (f *fleet) deleting(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cancel := f.servers[pod.UID]; cancel != nil {
		cancel()
		delete(f.servers, pod.UID)
	}
}

// admit lets a client in with a ticket, which is good once.
func (f *fleet) admit(ticket string, v visit) error {
	f.mu.Lock()
	s := f.tickets[ticket]
	delete(f.tickets, ticket)
	f.mu.Unlock()
	if s == nil {
		return fmt.Errorf("ticket %q is not on offer: %w", ticket, errTicket)
	}
	s.visits <- v // has room for the one
	return nil
}

// errTicket is a grant of what was granted before, or never offered.
var errTicket = errors.New("bad grant")

// run registers until ctx ends.
func (s *station) run(ctx context.Context) {
	select {
	case <-s.fleet.at:
	case <-ctx.Done():
	}
	const pause = 500 * time.Millisecond
	for ctx.Err() == nil {
		if err := s.register(ctx); err != nil && ctx.Err() == nil {
			s.fleet.failures.Add(1)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// register holds one connection to the tracker; it returns when that fails.
func (s *station) register(ctx context.Context) error {
	const poll = 2 * time.Second
	c, err := tracker.Dial(ctx, s.fleet.address)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is on its way
	ticket, err := s.offer(ctx, c)
	defer func() { s.withdraw(ticket) }()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Gone():
			return errors.New("the tracker closed the connection")
		case <-tick.C:
			_, err = c.Pending(ctx)
		case v := <-s.visits:
			if err = s.serve(ctx, c, v); err == nil {
				ticket, err = s.offer(ctx, c)
			}
			close(v.over)
		}
	}
	return err
}

// offer tells the tracker that the server is free, and puts a new ticket.
func (s *station) offer(ctx context.Context, c *tracker.Client) (ticket string, err error) {
	if err := s.tell(ctx, c, tvm.StateFree, nil); err != nil {
		return "", err
	}
	s.tickets++
	ticket = s.fleet.key + ":" + s.uid + "." + strconv.Itoa(s.tickets)
	s.fleet.mu.Lock()
	s.fleet.tickets[ticket] = s
	s.fleet.mu.Unlock()
	return ticket, c.Put(ctx, tvm.Put{Key: s.fleet.key, Port: json.RawMessage("9090"), MatchKey: ticket})
}

func (s *station) withdraw(ticket string) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	delete(s.fleet.tickets, ticket)
}

// serve is a session.
func (s *station) serve(ctx context.Context, c *tracker.Client, v visit) error {
	if err := s.tell(ctx, c, tvm.StateBusy, &tvm.SessionInfo{ID: strconv.Itoa(s.tickets), Client: v.client}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(v.length):
	}
	return nil
}

// tell says what a sidecar says.
func (s *station) tell(ctx context.Context, c *tracker.Client, state tvm.NativeState, session *tvm.SessionInfo) error {
	m := tvm.NewUpdateInfo(s.fleet.key, "", 9090)
	m.SetState(state, session)
	m.Info[tvm.FieldName] = json.RawMessage(strconv.Quote(s.name))
	m.Info[tvm.FieldInstance] = json.RawMessage(strconv.Quote(s.uid))
	return c.UpdateInfo(ctx, m)
}
