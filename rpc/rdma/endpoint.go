package rdma

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"rpcpool.dev/rpc/rdma/verbs"
)

// Endpoint is a queue pair to one peer. It is safe for concurrent use.
type Endpoint struct {
	adapter *Adapter
	queue   verbs.Queue
	place   Place
	mine    offer
	driver  chan struct{}  // who has put something in drives
	armed   bool           // the driver's: an event is due
	pulls   sync.WaitGroup // under way; none is added to a broken endpoint

	mu     sync.Mutex
	peer   AdapterID   // zero: not connected
	broken *Error      // why; nil: it is not
	slots  []*transfer // by id of the READ that is under way
	free   []int       // slots without one: the credits
	queued []*transfer // that have more to post, in turn
	polled []verbs.Completion
	latest time.Time // of the last progress: a completion, the first READ, the break
	gone   bool      // the queue pair is destroyed, unless:
	stuck  *Error    // why it could not be
}

// NewEndpoint makes an endpoint, where the device is now. It fails with [NoGID],
// [PortDown] or [NoQueue].
func (a *Adapter) NewEndpoint() (*Endpoint, error) {
	place, port, err := a.locate()
	if err != nil {
		return nil, err
	}
	depth := min(a.options.Depth, max(1, a.limits.Reads))
	queue, err := a.device.NewQueue(verbs.QueueOptions{Port: place.Port, Depth: depth, Rights: verbs.Source})
	if err != nil {
		return nil, failure(NoQueue, "queue pair of %s: %w", a.options.Device, err)
	}
	e := &Endpoint{adapter: a, queue: queue, place: place, driver: make(chan struct{}, 1), polled: make([]verbs.Completion, depth)}
	var psn [4]byte
	_, _ = rand.Read(psn[:]) // never fails
	e.mine = offer{
		adapter: a.id, gid: place.GID, lid: port.LID, number: queue.Number(), psn: binary.LittleEndian.Uint32(psn[:]) & 0xffffff,
		mtu: port.MTU, served: min(a.limits.Served, 255), ethernet: port.Ethernet,
		global: port.Global && !port.Ethernet,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, &Error{Reason: Closed, Err: queue.Close()}
	}
	a.endpoints[e] = struct{}{}
	a.counts.made.Add(1)
	a.counts.queues.Add(1)
	return e, nil
}

// locate finds out where the device is, and whether its port can be used.
func (a *Adapter) locate() (Place, verbs.Port, error) {
	place, err := a.options.Locate()
	if own := (*Error)(nil); errors.As(err, &own) {
		return Place{}, verbs.Port{}, own
	}
	if err != nil {
		return Place{}, verbs.Port{}, &Error{Reason: NoGID, Err: err}
	}
	port, err := a.device.Port(place.Port)
	switch {
	case err != nil:
		return Place{}, verbs.Port{}, failure(NoDevice, "port %d of %s: %w", place.Port, a.options.Device, err)
	case !port.Active:
		return Place{}, verbs.Port{}, failure(PortDown, "port %d of %s", place.Port, a.options.Device)
	}
	port.MTU = min(port.MTU, a.options.MTU)
	return place, port, a.confirm(place)
}

// confirm checks that a GID is where it was found.
func (a *Adapter) confirm(p Place) error {
	gid, err := a.device.GID(p.Port, p.Index)
	if err != nil {
		return failure(NoGID, "GID %d of port %d of %s: %w", p.Index, p.Port, a.options.Device, err)
	}
	if gid != p.GID {
		return failure(GIDMoved, "GID %d of port %d of %s is %x, not %x", p.Index, p.Port, a.options.Device, gid, p.GID)
	}
	return nil
}

// Offer is what the peer needs to connect to the endpoint: OfferLen bytes, for Connect
// at the peer.
func (e *Endpoint) Offer() []byte { return e.mine.append(nil) }

// Connect connects the endpoint to the one that has made an offer. Pulls work when both
// are connected. It fails with [Malformed], [GIDMoved], [PortDown], [NoGID] or [NoQueue];
// the endpoint is of no use then.
func (e *Endpoint) Connect(peer []byte) error {
	theirs, err := parseOffer(peer)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil || e.peer != (AdapterID{}) {
		return failure(Closed, "endpoint is closed, or connected already")
	}
	if err := e.join(theirs); err != nil {
		e.breakDown(&Error{Reason: ReasonOf(err), Err: err})
		return err
	}
	e.peer = theirs.adapter
	e.slots = make([]*transfer, min(len(e.polled), theirs.served))
	for i := range e.slots {
		e.free = append(e.free, i)
	}
	return nil
}

// join connects the queue pair, from where the device is now.
func (e *Endpoint) join(theirs offer) error {
	if theirs.ethernet != e.mine.ethernet {
		return failure(Malformed, "one port is of Ethernet, the other of InfiniBand")
	}
	place, port, err := e.adapter.locate()
	if err != nil {
		return err
	}
	if place.Port != e.place.Port || place.GID != e.place.GID {
		return failure(GIDMoved, "the device is at %x now, %x was offered", place.GID, e.place.GID)
	}
	o := e.adapter.options
	err = e.queue.Connect(verbs.Path{
		Index: place.Index, GID: theirs.gid, LID: theirs.lid, Global: theirs.ethernet || theirs.global || e.mine.global,
		Number: theirs.number, PeerPSN: theirs.psn, PSN: e.mine.psn, MTU: min(port.MTU, theirs.mtu),
		Reads: max(1, min(len(e.polled), theirs.served)), Served: e.mine.served,
		Timeout: o.Timeout, Retries: o.Retries, TrafficClass: o.TrafficClass, ServiceLevel: o.ServiceLevel,
	})
	if err != nil {
		return failure(NoQueue, "connect queue pair %d to %d of %x: %w", e.mine.number, theirs.number, theirs.gid, err)
	}
	return e.adapter.confirm(place) // else the queue pair has another address than it thinks
}

// Err tells why the endpoint is broken; nil if it is not.
func (e *Endpoint) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken == nil {
		return nil
	}
	return e.broken
}

// Close ends pulls, waits until the device writes nothing more for them, and gives the
// queue pair back. The peer can read nothing more by it. It fails with [ErrStuck].
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.breakDown(&Error{Reason: Closed})
	e.mu.Unlock()
	e.pulls.Wait()
	e.mu.Lock()
	err := e.destroy()
	e.mu.Unlock()
	e.adapter.mu.Lock()
	defer e.adapter.mu.Unlock()
	if _, open := e.adapter.endpoints[e]; open && err == nil {
		delete(e.adapter.endpoints, e)
		e.adapter.counts.queues.Add(-1)
	}
	return err
}
