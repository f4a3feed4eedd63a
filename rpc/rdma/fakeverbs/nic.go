package fakeverbs

import (
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/rpc/rdma/verbs"
)

// Fabric is a network of devices. It is a driver of all of them.
type Fabric struct {
	mu         sync.Mutex
	nics       map[string]*NIC
	serial     uint32 // last key or number of a queue pair
	violations []string
}

// New returns a network without devices.
func New() *Fabric { return &Fabric{nics: map[string]*NIC{}} }

// NIC is a device with one port. Its fields may be set before it is opened; later, by
// what its methods call, or within Change.
type NIC struct {
	Limits   verbs.Limits
	Port     verbs.Port
	GIDs     []verbs.GID // the port's table
	Judge    func(Read) Fate
	Register error  // of the next registrations
	Queue    error  // of the next queue pairs
	Connect  error  // of the next connects
	Poll     error  // of polling
	Fail     error  // of putting queue pairs into ERR
	Destroy  error  // of destroying queue pairs: the device goes on
	Release  error  // of deregistering memory
	Silent   bool   // there are no events
	Changed  func() // called when a queue pair has been connected

	fabric   *Fabric
	name     string
	reads    int
	memories map[*memory]struct{}
	granted  []verbs.Rights
	queues   map[uint32]*queue
	dead     bool

	listeners map[*listener]struct{}
}

// Read is a READ that begins.
type Read struct {
	Number int // of the device, from 1 on
	Bytes  int
}

// Fate is what becomes of a READ. The zero value: all goes well, at once.
type Fate struct {
	Status verbs.Status  // it ends so; unless this is Success, nothing is written
	After  time.Duration // it ends
	Hangs  bool          // it does not end, before the queue pair is in ERR or gone
	Lost   bool          // its completion never comes, not even then
	Late   time.Duration // after ERR a READ that hangs still writes, that long after it
}

// Add adds a device to the network: its port is active, of Ethernet, and has this GID.
func (f *Fabric) Add(name string, gid verbs.GID) *NIC {
	n := &NIC{
		Limits: verbs.Limits{Reads: 16, Served: 16}, Port: verbs.Port{Active: true, Ethernet: true, MTU: 4096}, GIDs: []verbs.GID{gid},
		fabric: f, name: name, memories: map[*memory]struct{}{}, queues: map[uint32]*queue{}, listeners: map[*listener]struct{}{},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nics[name] = n
	return n
}

// Violations are what programs have done that could let a device write to memory which
// is not its any more.
func (f *Fabric) Violations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.violations)
}

func (f *Fabric) violate(format string, args ...any) {
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

// Open implements [verbs.Driver].
func (f *Fabric) Open(name string) (verbs.Device, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nics[name]
	if n == nil {
		return nil, fmt.Errorf("RDMA device %s: %w", name, fs.ErrNotExist)
	}
	return &device{n}, nil
}

// Granted are the rights of all memory that was ever registered, in its order.
func (n *NIC) Granted() []verbs.Rights {
	n.fabric.mu.Lock()
	defer n.fabric.mu.Unlock()
	return slices.Clone(n.granted)
}

// Change changes the device's fields.
func (n *NIC) Change(do func(*NIC)) {
	n.fabric.mu.Lock()
	defer n.fabric.mu.Unlock()
	do(n)
}

// Kill ends the process that has the device, without a word to anybody.
func (n *NIC) Kill() {
	n.Change(func(n *NIC) {
		n.dead = true
		for _, q := range n.queues {
			q.state = gone
		}
		n.memories, n.queues = map[*memory]struct{}{}, map[uint32]*queue{}
	})
}

// device is an open NIC.
type device struct{ *NIC }

func (d *device) lock() func() {
	d.fabric.mu.Lock()
	return d.fabric.mu.Unlock
}

// alive is the error of everything that a dead process does.
func (n *NIC) alive() error {
	if n.dead {
		return syscall.EIO
	}
	return nil
}

// Limits implements [verbs.Device].
func (d *device) Limits() (verbs.Limits, error) {
	defer d.lock()()
	return d.NIC.Limits, d.alive()
}

// Port implements [verbs.Device].
func (d *device) Port(number int) (verbs.Port, error) {
	defer d.lock()()
	if number != 1 {
		return verbs.Port{}, syscall.EINVAL
	}
	return d.NIC.Port, d.alive()
}

// GID implements [verbs.Device].
func (d *device) GID(port, index int) (verbs.GID, error) {
	defer d.lock()()
	if port != 1 || index < 0 || index >= len(d.GIDs) {
		return verbs.GID{}, syscall.EINVAL
	}
	return d.GIDs[index], d.alive()
}

// Close implements [verbs.Device].
func (d *device) Close() error {
	defer d.lock()()
	if len(d.memories)+len(d.queues) > 0 {
		return syscall.EBUSY
	}
	return nil
}

// Tell lets everybody who listens hear an event.
func (n *NIC) Tell(e verbs.Event) {
	n.Change(func(n *NIC) {
		for l := range n.listeners {
			select {
			case l.events <- e:
			default: // nobody hears so many
			}
		}
	})
}

type listener struct {
	nic    *NIC
	events chan verbs.Event
	closed chan struct{}
}

// Listen implements [verbs.Device].
func (d *device) Listen() (verbs.Listener, error) {
	defer d.lock()()
	if err := d.alive(); err != nil {
		return nil, err
	}
	l := &listener{nic: d.NIC, events: make(chan verbs.Event, 16), closed: make(chan struct{})}
	d.listeners[l] = struct{}{}
	return l, nil
}

// Next implements [verbs.Listener].
func (l *listener) Next() (verbs.Event, error) {
	select {
	case e := <-l.events:
		return e, nil
	case <-l.closed:
		return verbs.Event{}, fs.ErrClosed
	}
}

// Close implements [verbs.Listener].
func (l *listener) Close() error {
	l.nic.Change(func(n *NIC) { delete(n.listeners, l) })
	close(l.closed)
	return nil
}
