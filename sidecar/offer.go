package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/tvm"
)

// Periods of the offer loop; the poll and the number of misses are those of
// stock servers.
const (
	pollPeriod    = 2 * time.Second
	pollMisses    = 4               // polls without our ticket before we think that its client is lost
	trackerCall   = 3 * time.Second // a tracker whose machine is gone says nothing
	reconnectMin  = 100 * time.Millisecond
	reconnectMax  = time.Second
	reconnectBase = 2
)

// trackerConn is what the offer loop needs of a tracker's client.
type trackerConn interface {
	UpdateInfo(context.Context, tvm.UpdateInfo) error
	Put(context.Context, tvm.Put) error
	Pending(context.Context) ([]string, error)
	Gone() <-chan struct{}
	Close() error
}

// device is the state that the tracker is told. Each time that the device
// becomes free it is a new offer, with a ticket of its own.
type device struct {
	state   tvm.NativeState
	reason  string // why it is not free, for people
	session string // id of the session in progress
	client  string
	offer   uint64 // counts the times that the device became free
	// unbounded names the limits that are asked for and not enforced, with commas
	// between.
	unbounded string
	rdma      tvm.RDMAInfo // zero: there is nothing to say
}

// offer keeps the device registered with the tracker, for ever: it connects,
// says who we are and in what state, puts a ticket when the device is free,
// renews it when a client took it and never came, and starts over with backoff
// whenever anything fails or the connection ends. The tracker's name is looked up
// each time: another one may be behind it.
type offer struct {
	dial      func(context.Context) (trackerConn, error)
	key       string
	advertise string
	port      int
	name      string
	instance  string
	tickets   *tickets
	log       *slog.Logger
	count     func(result offerResult)
	poll      time.Duration

	mu      sync.Mutex
	wanted  device
	problem error         // why the device is not offered although it is free; nil: it is
	changed chan struct{} // holds one value if wanted is news
}

func newOffer() *offer {
	return &offer{
		wanted: device{state: stateStarting}, changed: make(chan struct{}, 1), poll: pollPeriod,
		problem: errors.New("not connected yet"),
	}
}

// offered returns nil if the tracker has been told that the device is free, and
// the connection has not failed since.
func (o *offer) offered() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.problem
}

func (o *offer) setProblem(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problem = err
}

// publish sets the state to be told. It never blocks.
func (o *offer) publish(d device) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wanted == d {
		return
	}
	o.wanted = d
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *offer) current() device {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wanted
}

// run registers until ctx ends.
func (o *offer) run(ctx context.Context) {
	wait := reconnectMin
	for ctx.Err() == nil {
		registered, err := o.register(ctx)
		if ctx.Err() != nil {
			return
		}
		o.setProblem(err)
		if registered {
			wait = reconnectMin
		}
		o.log.Warn("not registered with the tracker", "error", err, "retry_in", wait)
		sleep.For(wait/2+mathrand.N(wait/2+1), ctx.Done()) //nolint:gosec // jitter needs no secret
		wait = min(wait*reconnectBase, reconnectMax)
	}
}

// register holds one connection to the tracker; it returns when that fails.
func (o *offer) register(ctx context.Context) (registered bool, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, trackerCall)
	defer cancel()
	c, err := o.dial(dialCtx)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close() }()
	r := &registration{offer: o, conn: c}
	if err := r.tell(ctx, o.current()); err != nil {
		return false, err
	}
	o.log.Info("registered with the tracker")
	return true, r.keep(ctx)
}

// registration is one connection to a tracker, and what it knows of us.
type registration struct {
	*offer
	conn   trackerConn
	told   device // what the tracker knows
	ticket string // last put on this connection; empty if none
	misses int
}

// keep tells changes and polls until something fails or the tracker is gone.
func (r *registration) keep(ctx context.Context) error {
	poll := time.NewTicker(r.poll)
	defer poll.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.conn.Gone():
			return errors.New("connection ended")
		case <-r.changed:
			if d := r.current(); d != r.told {
				err = r.tell(ctx, d)
			}
		case <-poll.C:
			err = r.check(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// tell brings the tracker up to date: a free device by PUT of a new ticket,
// any other state by UPDATE_INFO. News of RDMA alone leave the offer as it is: a
// client may have been granted it.
func (r *registration) tell(ctx context.Context, d device) error {
	before := r.told
	r.told = d
	if d.state != tvm.StateFree || r.ticket == "" || d.rdma != before.rdma {
		if err := r.update(ctx, d); err != nil {
			return err
		}
	}
	if before.rdma = d.rdma; d.state == tvm.StateFree && r.ticket != "" && d == before {
		return nil
	}
	if d.state == tvm.StateFree {
		return r.put(ctx)
	}
	return r.withdrawn(ctx)
}

func (r *registration) update(ctx context.Context, d device) error {
	ctx, cancel := context.WithTimeout(ctx, trackerCall)
	defer cancel()
	info, err := r.info(d)
	if err != nil {
		return err
	}
	if err := r.conn.UpdateInfo(ctx, tvm.UpdateInfo{Info: info}); err != nil {
		return fmt.Errorf("update info: %w", err)
	}
	return nil
}

// put offers the device under a new ticket, which the door knows before the
// tracker does: a client may come at once.
func (r *registration) put(ctx context.Context) error {
	ticket, err := tvm.NewMatchKey(r.key, rand.Reader)
	if err != nil {
		return fmt.Errorf("new ticket: %w", err)
	}
	if !r.tickets.Open(ticket) {
		return nil // a client is in; the core will say busy
	}
	put := tvm.Put{Key: r.key, Port: fmt.Appendf(nil, "%d", r.port), MatchKey: ticket}
	if r.advertise != "" {
		put.Host = &r.advertise
	}
	ctx, cancel := context.WithTimeout(ctx, trackerCall)
	defer cancel()
	if err := r.conn.Put(ctx, put); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	r.ticket, r.misses = ticket, 0
	r.setProblem(nil)
	r.count(offerPut)
	return nil
}

// withdrawn makes sure that the tracker has let go of the last ticket. Our own
// does on UPDATE_INFO; a stock one lets go only when the connection closes.
func (r *registration) withdrawn(ctx context.Context) error {
	if r.ticket == "" {
		return nil
	}
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	if pending {
		r.count(offerWithdrawn)
		return errors.New("device withdrawn from a tracker that knows no such message: registering anew")
	}
	r.ticket = ""
	return nil
}

// check polls. It keeps the connection alive, notices a tracker that is gone,
// and renews a ticket that was granted to a client that never came.
func (r *registration) check(ctx context.Context) error {
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	if pending || r.current().state != tvm.StateFree {
		r.misses = 0
		return nil
	}
	if r.misses++; r.misses < pollMisses {
		return nil
	}
	r.log.Info("ticket was granted and never used: offering again")
	r.count(offerExpired)
	return r.put(ctx)
}

// pending tells whether our ticket is still on offer at the tracker.
func (r *registration) pending(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, trackerCall)
	defer cancel()
	keys, err := r.conn.Pending(ctx)
	if err != nil {
		return false, fmt.Errorf("poll: %w", err)
	}
	return r.ticket != "" && slices.Contains(keys, r.ticket), nil
}

// info is our UPDATE_INFO: what stock servers send, the state, and who we are.
func (r *registration) info(d device) (map[string]json.RawMessage, error) {
	var host any // null: the tracker fills in the address that it sees
	if r.advertise != "" {
		host = r.advertise
	}
	var session any
	if d.session != "" {
		session = tvm.SessionInfo{ID: d.session, Client: d.client}
	}
	fields := map[string]any{
		tvm.FieldKey:       tvm.ServerKeyPrefix + r.key,
		tvm.FieldAddr:      []any{host, r.port},
		tvm.FieldState:     d.state,
		tvm.FieldReason:    d.reason,
		tvm.FieldSession:   session,
		tvm.FieldUnbounded: limitNames(d.unbounded),
	}
	if d.rdma != (tvm.RDMAInfo{}) {
		fields[tvm.FieldRDMA] = d.rdma
	}
	if r.name != "" {
		fields[tvm.FieldName] = r.name
	}
	if r.instance != "" {
		fields[tvm.FieldInstance] = r.instance
	}
	info := map[string]json.RawMessage{}
	for name, value := range fields {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
		info[name] = raw
	}
	return info, nil
}

// limitNames splits names with commas between; none are an empty list, so that
// an earlier one does not stay with the tracker.
func limitNames(unbounded string) []string {
	if unbounded == "" {
		return []string{}
	}
	return strings.Split(unbounded, ",")
}
