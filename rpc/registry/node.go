package registry

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Bounds of what one node may say, and of how many there are.
const (
	MaxNodes    = 1 << 16
	MaxServices = 64  // of one node
	MaxHeld     = 64  // locks that one registration claims
	MaxText     = 253 // bytes of an id, a name or an address
)

// FirstAutomatic is the lowest server id that the registry gives by itself; those
// that nodes choose are below it.
const FirstAutomatic = 1 << 32

// Secret is what an instance of a node proves itself with: 128 random bits, another
// one for every start.
type Secret [16]byte

// is compares in constant time.
func (s Secret) is(t Secret) bool { return subtle.ConstantTimeCompare(s[:], t[:]) == 1 }

// Endpoints are the ways to a node; those that it does not have are empty.
type Endpoints struct {
	TCP  string `cbor:"1,keyasint,omitempty"` // HOST:PORT
	Unix string `cbor:"2,keyasint,omitempty"` // path of its socket, for clients with the same Boot
	Boot string `cbor:"3,keyasint,omitempty"` // boot id of the machine that it runs on
	RDMA string `cbor:"4,keyasint,omitempty"` // GID; nobody uses it yet
}

// Service is one server of a service: a name that many may have, and an id that is
// the server's own among them. In a registration, id 0 asks for an automatic one.
// An automatic id is never given again, a chosen one may be when its server is gone.
type Service struct {
	Name string `cbor:"1,keyasint"`
	ID   uint64 `cbor:"2,keyasint,omitempty"`
}

// Node is what everybody is told about a node. Load is not part of it: it changes
// too often for that.
type Node struct {
	ID        string    `cbor:"1,keyasint"`
	Rank      uint32    `cbor:"2,keyasint"` // dense, from 0; another's after this node is fenced
	Epoch     uint64    `cbor:"3,keyasint"` // of its registration: no other has had it or will have it
	Endpoints Endpoints `cbor:"4,keyasint"`
	Services  []Service `cbor:"5,keyasint,omitempty"` // sorted; not to be changed
}

// Lasting tells of an epoch whether its node goes on without a lease. Such a node is not
// fenced when the registry does not hear of it any more: what runs there, nobody knows.
func Lasting(epoch uint64) bool { return epoch != 0 && epoch%2 == 0 }

// Digest proves that two views are equal: it is of all nodes together, and in no
// order. It is good against mistakes, not against forgers.
type Digest [16]byte

// toggle puts a node's digest in, or takes it out again.
func (d *Digest) toggle(of Digest) { subtle.XORBytes(d[:], d[:], of[:]) }

// digest is of one node.
func (n *Node) digest() (d Digest) {
	b, err := codec.encode.Marshal(n)
	if err != nil { // its fields are strings and numbers
		panic(err)
	}
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

func (n *Node) check() error {
	if n.Epoch == 0 || n.Rank >= MaxNodes {
		return fmt.Errorf("node %q has epoch %d and rank %d", n.ID, n.Epoch, n.Rank)
	}
	if err := checkName("node id", n.ID); err != nil {
		return err
	}
	if err := n.Endpoints.check(); err != nil {
		return err
	}
	for _, s := range n.Services {
		if s.ID == 0 {
			return fmt.Errorf("a server of %q has no id", s.Name)
		}
	}
	return checkServices(n.Services)
}

func (e *Endpoints) check() error {
	for _, a := range []struct{ what, text string }{
		{"TCP address", e.TCP}, {"socket's path", e.Unix}, {"boot id", e.Boot}, {"GID", e.RDMA},
	} {
		if err := checkText(a.what, a.text); err != nil {
			return err
		}
	}
	return nil
}

func checkServices(all []Service) error {
	if len(all) > MaxServices {
		return fmt.Errorf("%d servers on one node, more than %d", len(all), MaxServices)
	}
	for i, s := range all {
		if err := checkName("service", s.Name); err != nil {
			return err
		}
		if s.ID != 0 && slices.Contains(all[:i], s) {
			return fmt.Errorf("server %d of %q is there twice", s.ID, s.Name)
		}
	}
	return nil
}

// checkName is checkText for what must not be empty.
func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("a %s is empty", what)
	}
	return checkText(what, s)
}

func checkText(what, s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("a %s has %d bytes, more than %d", what, len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is not UTF-8", what, s)
	}
	return nil
}
