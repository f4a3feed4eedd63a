package registry

import (
	"errors"
	"fmt"
	"time"
)

// Lease says how long a node is believed to be alive. It is in every [Ack], so
// that both sides count alike; each counts on its own monotonic clock.
type Lease struct {
	Renew time.Duration `cbor:"1,keyasint"` // a node renews so often. Default 5 s
	Self  time.Duration `cbor:"2,keyasint"` // a node that has not renewed for so long ends its workers. Default 15 s
	Fence time.Duration `cbor:"3,keyasint"` // then the registry says that it has. Default 20 s
}

// MaxWait bounds what anybody may be told to wait for.
const MaxWait = time.Hour

// DefaultLease is used where none is said.
func DefaultLease() Lease {
	return Lease{Renew: 5 * time.Second, Self: 15 * time.Second, Fence: 20 * time.Second}
}

func (l Lease) check() error {
	if l.Renew <= 0 || l.Self <= l.Renew || l.Fence <= l.Self || l.Fence > MaxWait {
		return fmt.Errorf("a lease of %v, %v and %v does not grow, or too far", l.Renew, l.Self, l.Fence)
	}
	return nil
}

// Registration is what a node says about itself, all of it each time.
type Registration struct {
	ID        string    `cbor:"1,keyasint"`
	Secret    Secret    `cbor:"2,keyasint"`
	Revision  uint64    `cbor:"3,keyasint"` // greater each time; what comes late, with a lower one, changes nothing
	Endpoints Endpoints `cbor:"4,keyasint"`
	Services  []Service `cbor:"5,keyasint,omitempty"`
	Load      uint32    `cbor:"6,keyasint,omitempty"`  // calls that wait
	Claim     Claim     `cbor:"7,keyasint"`            // what it has been given before; zero: nothing
	Held      []Held    `cbor:"8,keyasint,omitempty"`  // all locks that it has
	Lasting   bool      `cbor:"9,keyasint,omitempty"`  // it goes on without a lease
	Lapsed    bool      `cbor:"10,keyasint,omitempty"` // it has none for what it claims
	Note      string    `cbor:"11,keyasint,omitempty"` // for whoever runs the registry
}

// Claim is what a node was given by this registry or the one before it.
type Claim struct {
	Rank  uint32 `cbor:"1,keyasint,omitempty"`
	Epoch uint64 `cbor:"2,keyasint,omitempty"`
}

// Held is a lock that a node has.
type Held struct {
	Name   string `cbor:"1,keyasint"`
	Number uint64 `cbor:"2,keyasint"` // of the request that it was granted to
	Token  uint64 `cbor:"3,keyasint"`
}

func (m *Registration) check() error {
	if err := checkName("node id", m.ID); err != nil {
		return err
	}
	if err := m.Endpoints.check(); err != nil {
		return err
	}
	if err := checkText("note", m.Note); err != nil {
		return err
	}
	if len(m.Held) > MaxHeld {
		return fmt.Errorf("%d locks are claimed, more than %d", len(m.Held), MaxHeld)
	}
	for _, h := range m.Held {
		if err := checkName("lock", h.Name); err != nil {
			return err
		}
		if h.Number == 0 || h.Token == 0 {
			return fmt.Errorf("lock %q is claimed by request %d with token %d", h.Name, h.Number, h.Token)
		}
	}
	if m.Claim.Epoch != 0 && Lasting(m.Claim.Epoch) != m.Lasting {
		return fmt.Errorf("epoch %#x is claimed, of another kind of node", m.Claim.Epoch)
	}
	if m.Lapsed && (m.Claim.Epoch == 0 || !m.Lasting) {
		return errors.New("a lease has ended, and nothing is claimed, or workers must have ended with it")
	}
	if m.Claim.Rank >= MaxNodes {
		return fmt.Errorf("rank %d is claimed, and there are at most %d", m.Claim.Rank, MaxNodes)
	}
	return checkServices(m.Services)
}

// Ack confirms a registration.
type Ack struct {
	Rank     uint32    `cbor:"1,keyasint"`
	Epoch    uint64    `cbor:"2,keyasint"`
	Lease    Lease     `cbor:"3,keyasint"`
	Version  uint64    `cbor:"4,keyasint"`           // views of this version or a later one have the node
	Services []Service `cbor:"5,keyasint,omitempty"` // with their automatic ids
	Lost     []Held    `cbor:"6,keyasint,omitempty"` // of the registration's; they are not the node's
}

func (a *Ack) check() error {
	if a.Epoch == 0 || a.Version == 0 {
		return fmt.Errorf("a confirmation has epoch %d and version %d", a.Epoch, a.Version)
	}
	return a.Lease.check()
}

// Owner proves who asks: an epoch, and the secret that it was given for.
type Owner struct {
	Epoch  uint64 `cbor:"1,keyasint"`
	Secret Secret `cbor:"2,keyasint"`
	Life   uint32 `cbor:"3,keyasint,omitempty"` // which process of the instance: see [RegistrarOptions.Life]
}

func (o *Owner) check() error {
	if o.Epoch == 0 {
		return errors.New("the owner has no epoch")
	}
	return nil
}

// Renewal asks for another lease. Departure, which is an [Owner] alone, gives it back.
type Renewal struct {
	Owner Owner  `cbor:"1,keyasint"`
	Load  uint32 `cbor:"2,keyasint,omitempty"`
	Term  uint32 `cbor:"3,keyasint,omitempty"` // of the registry that has confirmed the node; 0: not said
	Note  string `cbor:"4,keyasint,omitempty"` // for whoever runs the registry
}

func (m *Renewal) check() error {
	if err := m.Owner.check(); err != nil {
		return err
	}
	return checkText("note", m.Note)
}

// Update makes an older view a newer one: of version From, or a later one before To,
// one of version To. A snapshot, which has From 0, makes it of any.
type Update struct {
	From     uint64   `cbor:"1,keyasint,omitempty"`
	To       uint64   `cbor:"2,keyasint"`
	Settling bool     `cbor:"3,keyasint,omitempty"` // nodes that it does not have may still come back
	Nodes    []Node   `cbor:"4,keyasint,omitempty"` // that are new or have changed; of a snapshot, all
	Gone     []string `cbor:"5,keyasint,omitempty"` // ids
	Digest   Digest   `cbor:"6,keyasint"`           // of the view as it is to be
}

func (u *Update) check() error {
	if u.To == 0 || u.From >= u.To {
		return fmt.Errorf("an update leads from version %d to %d", u.From, u.To)
	}
	if len(u.Nodes) > MaxNodes {
		return fmt.Errorf("an update has %d nodes, more than %d", len(u.Nodes), MaxNodes)
	}
	for i := range u.Nodes {
		if err := u.Nodes[i].check(); err != nil {
			return err
		}
	}
	return nil
}
