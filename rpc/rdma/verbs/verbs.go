package verbs

import (
	"errors"
	"time"
)

// ErrNoRDMA is returned by [Load] where there is no RDMA: the program was built without,
// or the machine has no libibverbs.
var ErrNoRDMA = errors.New("no RDMA")

// Driver opens devices.
type Driver interface {
	// Open opens a device by its name, such as mlx5_3. It fails with an error that is
	// fs.ErrNotExist if there is none.
	Open(name string) (Device, error)
}

// Device is an open device. It is safe for concurrent use.
type Device interface {
	Limits() (Limits, error)
	// Port tells the state of a port, from 1 on, as it is now.
	Port(number int) (Port, error)
	// GID reads a row of a port's table, as it is now.
	GID(port, index int) (GID, error)
	// Register pins memory and lets the device access it. It must stay where it is until
	// the Memory is closed. Errors are those of the system: ENOMEM if no more may be pinned.
	Register(memory []byte, rights Rights) (Memory, error)
	// NewQueue makes a queue pair in state INIT.
	NewQueue(o QueueOptions) (Queue, error)
	// Listen makes a listener of what the device tells by itself. It must be closed
	// before the device.
	Listen() (Listener, error)
	// Close fails while there is a Memory or a Queue of the device.
	Close() error
}

// Listener hears what a device tells by itself, whatever is under way.
type Listener interface {
	// Next waits for the next event. It fails when the listener is closed. Calls must not
	// overlap.
	Next() (Event, error)
	// Close ends Next, and waits until it has returned.
	Close() error
}

// Event is what a device tells by itself.
type Event struct {
	Kind  EventKind
	Queue uint32 // number of the queue pair, of QueueFatal
}

// EventKind says what an event is about.
type EventKind int

// Kinds of events.
const (
	// Other events matter to nobody here.
	Other EventKind = iota
	// DeviceFatal: the device works no more; another open may help.
	DeviceFatal
	// QueueFatal: a queue pair is in state ERR.
	QueueFatal
	// PortChanged: a port goes up or down, or has other addresses.
	PortChanged
)

// Limits are what a device can do at most, for each queue pair.
type Limits struct {
	Reads  int // READs that it may have under way
	Served int // READs of its peer that it serves at the same time
}

// Port is the state of a device's port.
type Port struct {
	Active   bool
	Ethernet bool   // RoCE; else InfiniBand
	MTU      int    // bytes of payload of a packet: 256 to 4096
	LID      uint16 // InfiniBand
	Global   bool   // by GID also on InfiniBand: functions of a card share its LID
}

// GID is the address of a port in a network: for RoCE, an IP address; IPv4 as in
// ::ffff:192.0.2.1.
type GID [16]byte

// Rights are what a device may do with memory. There is none to let a peer write.
type Rights uint8

// The rights of memory.
const (
	// Sink memory is written by this device, with what it has read at a peer.
	Sink Rights = 1 << iota
	// Source memory may be read by peers that know its key.
	Source
)

// Memory is a registration.
type Memory interface {
	// Address is how peers name the first byte.
	Address() uint64
	// Key is what peers need to access the memory.
	Key() uint32
	// Close takes the memory away from the device: when it returns without an error, no
	// device accesses it, and peers that try are refused.
	Close() error
}

// QueueOptions are what a queue pair is made with.
type QueueOptions struct {
	Port   int
	Depth  int    // READs that may be under way
	Rights Rights // Source: the peer may read by this queue pair
}

// Path is what a queue pair is connected by.
type Path struct {
	Index   int // of the own GID
	GID     GID // of the peer
	LID     uint16
	Number  uint32 // of the peer's queue pair
	PeerPSN uint32 // where the peer's packets begin to count
	PSN     uint32 // where ours do
	MTU     int    // bytes
	Reads   int    // that may be under way to the peer
	Served  int    // of the peer that are served at the same time
	Global  bool   // by GID, as RoCE needs it, and InfiniBand where a LID is shared; else by LID alone

	Timeout      int // until a packet is sent again: 4.096 us doubled as often
	Retries      int // up to 7
	TrafficClass int
	ServiceLevel int
}

// Queue is a queue pair with its completions. Calls of Poll and Arm must not overlap;
// all others may.
type Queue interface {
	// Number tells queue pairs of a device apart.
	Number() uint32
	// Connect makes READs possible, in both directions.
	Connect(p Path) error
	// Read begins to read len(into) bytes at a peer's address. into lies in m, which has
	// the right Sink. One completion with the id tells the end, however it ends.
	Read(id uint64, into []byte, m Memory, address uint64, key uint32) error
	// Poll takes what has completed; 0 if nothing has.
	Poll(out []Completion) (int, error)
	// Arm asks for an event when the next READ completes.
	Arm() error
	// Wait waits for such an event. It fails with os.ErrDeadlineExceeded.
	Wait(deadline time.Time) error
	// Fail puts the queue pair into state ERR: all that is under way completes as flushed.
	Fail() error
	// Close takes the queue pair from the device: when it returns without an error, the
	// device writes nothing more for it. There are no completions after that.
	Close() error
}

// Completion is the end of a READ.
type Completion struct {
	ID     uint64
	Status Status
	Vendor uint32 // the device maker's word for the error
}
