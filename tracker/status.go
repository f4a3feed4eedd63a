package tracker

import (
	"slices"
	"strings"
	"time"

	"rpcpool.dev/tvm"
)

// Bounds of what of a server's identity is kept, in bytes. A name or an instance
// that is longer is none; a longer text is cut.
const (
	maxNameBytes   = 253
	maxReasonBytes = 1024
	maxRDMABytes   = 512 // of the message
)

// identity is what a server says about itself beyond its key: read once, so that
// asking for all servers costs little.
type identity struct {
	name, instance string
	reason         string
	session        tvm.SessionInfo
	rdma           tvm.RDMAInfo
}

func identityOf(m tvm.UpdateInfo) identity {
	instance := m.Instance()
	if instance == "" || len(instance) > maxNameBytes {
		return identity{}
	}
	said := identity{name: m.Name(), instance: instance, reason: m.Reason(), session: m.Session(), rdma: m.RDMA()}
	if len(said.name) > maxNameBytes {
		said.name = ""
	}
	if len(said.reason) > maxReasonBytes {
		said.reason = said.reason[:maxReasonBytes]
	}
	if len(said.session.ID) > maxNameBytes || len(said.session.Client) > maxNameBytes {
		said.session = tvm.SessionInfo{}
	}
	if len(said.rdma.Reason) > maxNameBytes {
		said.rdma = tvm.RDMAInfo{}
	}
	if len(said.rdma.Message) > maxRDMABytes {
		said.rdma.Message = strings.ToValidUTF8(said.rdma.Message[:maxRDMABytes], "")
	}
	return said
}

func (i *identity) cost() int64 {
	return int64(len(i.name) + len(i.instance) + len(i.reason) + len(i.session.ID) + len(i.session.Client) + len(i.rdma.Reason) + len(i.rdma.Message))
}

// identify notes what p says that it is. Whether it is held is for the caller to
// look at.
func (r *registry) identify(p *peer, said identity) {
	old := p.said.instance
	p.said = said
	if old == said.instance {
		return
	}
	if old != "" {
		rest := slices.DeleteFunc(r.holds.peers[old], func(x *peer) bool { return x == p })
		if r.holds.peers[old] = rest; len(rest) == 0 {
			delete(r.holds.peers, old)
		}
	}
	if said.instance != "" {
		r.holds.peers[said.instance] = append(r.holds.peers[said.instance], p)
	}
}

// ServerStatus is a server that gave an instance, at one moment.
type ServerStatus struct {
	// Name and Instance are what the server says that it is called ("name" and
	// "instance" of its UPDATE_INFO); nobody has checked them. In a cluster they
	// are a pod's name and UID.
	Name, Instance string
	// Key is its device key.
	Key string
	// Host is where its connection comes from, an IP address, as the tracker's
	// kernel sees it.
	Host string
	// State, and Since when. A server that drains by its own word and still has a
	// session is [StateBusy] here.
	State State
	Since time.Time
	// Client is who was granted the server or is in a session there, as HOST:PORT;
	// empty: nobody. Of a session that the server tells of, it is the client's
	// address at the server; otherwise that at the tracker.
	Client string
	// Session in progress by the server's word; empty: none, or not known.
	Session string
	// Reason why it is not free, in its own words; empty: it gives none.
	Reason string
	// RDMA is what the server says of its RDMA devices; zero: nothing.
	RDMA tvm.RDMAInfo
	// Held: see [Server.Hold].
	Held bool

	id uint64 // of the connection
}

// servers lists the servers of q that gave an instance, in no order.
func (r *registry) serversOf(q *queue, now time.Time) []ServerStatus {
	list := make([]ServerStatus, 0, len(q.homes))
	for _, p := range q.homes {
		if p.said.instance != "" {
			list = append(list, r.status(p, now))
		}
	}
	return list
}

func (r *registry) status(p *peer, now time.Time) ServerStatus {
	state, since := r.state(p, now)
	s := ServerStatus{
		Name: p.said.name, Instance: p.said.instance, Key: p.home.key, Host: p.host,
		State: state, Since: since, Reason: p.said.reason, RDMA: p.said.rdma, Held: p.held, id: p.id,
	}
	if session := p.said.session; session.ID != "" && (p.native == tvm.StateBusy || p.native == tvm.StateDraining) {
		s.Session, s.Client = session.ID, session.Client
		if state == StateDraining {
			s.State = StateBusy
		}
	} else if state == StateGranted || state == StateBusy {
		s.Client = p.client()
	}
	return s
}

// ServersOf returns the servers of a device key that gave an instance, all as
// they are at one moment, in the order of their registration. It costs as much
// as that key has servers. What cannot be told from a server's silence yet is in
// [Options.Changed].
func (s *Server) ServersOf(key string) []ServerStatus {
	now := s.options.Clock.Now()
	s.mu.Lock()
	var list []ServerStatus
	if q := s.registry.queues[key]; q != nil {
		list = s.registry.serversOf(q, now)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b ServerStatus) int { return compare(a.id, b.id) })
	return list
}

// Pending returns the number of requests that wait for a device key.
func (s *Server) Pending(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.registry.queues[key]; q != nil {
		return q.waiting
	}
	return 0
}

// Settled tells whether the server grants: it does once [Options.Settle] has
// passed since Serve began.
func (s *Server) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.registry.settling
}
