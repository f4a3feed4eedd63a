package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// rig is a client and servers whose network, workers and disks are the test's own:
// nothing happens but what the test does.
type rig struct {
	t       *testing.T
	now     time.Duration
	rng     *rand.Rand
	client  *Client
	servers []*testServer

	finished []*Invocation
	routed   []*Invocation
	dialled  []*Peer
}

// testServer is a domain and its shell.
type testServer struct {
	r       *rig
	peer    *Peer
	id      ID
	life    uint64
	opt     DomainOptions
	domain  *Domain
	bound   map[Conn]*Session
	journal []Record
	// recorded says that handlers keep records of what they have done.
	recorded bool

	up, down    []packet // under way to it, and from it
	sent        []packet // that were under way from it
	ready       []*Entry
	interrupted []*Entry
	closed      []Conn
}

type packet struct {
	conn Conn
	m    Message
}

func newRig(t *testing.T, opt DomainOptions, n int) *rig {
	r := &rig{t: t, now: time.Second, rng: rand.New(rand.NewPCG(1, 2))}
	r.client = NewClient(ClientOptions{Rand: r.rng.Uint64})
	for i := range n {
		s := &testServer{r: r, id: ID{byte(i + 1)}, opt: opt, bound: map[Conn]*Session{}}
		s.peer = r.client.Add(s)
		r.servers = append(r.servers, s)
		s.boot()
	}
	return r
}

// one is a rig with one server that is connected.
func one(t *testing.T, opt DomainOptions) (*rig, *testServer) {
	r := newRig(t, opt, 1)
	r.servers[0].connect(1)
	return r, r.servers[0]
}

// boot starts the server's process: with its journal, if it has one.
func (s *testServer) boot() {
	s.life++
	s.domain = NewDomain(s.id, s.life, s.opt)
	s.bound, s.up, s.down, s.ready = map[Conn]*Session{}, nil, nil, nil
	for i := range s.journal {
		s.domain.Restore(s.r.now, &s.journal[i])
	}
}

// connect makes a connection, and lets the two greet each other.
func (s *testServer) connect(conn Conn) {
	s.r.do(s.r.client.Connected(s.r.now, s.peer, conn, nil))
	s.deliver()
}

// compact replaces the journal by what still matters.
func (s *testServer) compact() { s.journal = slices.Collect(s.domain.Records()) }

func (s *testServer) disconnect(conn Conn) {
	s.r.do(s.r.client.Disconnected(s.r.now, s.peer, conn, nil))
}

func (r *rig) do(out []Demand) {
	for _, d := range out {
		switch d.Want {
		case Transmit:
			s := d.Peer.Tag.(*testServer)
			s.up = append(s.up, packet{d.Conn, d.Msg})
		case Dial:
			r.dialled = append(r.dialled, d.Peer)
		case Route:
			r.routed = append(r.routed, d.Call)
		case Finish:
			r.finished = append(r.finished, d.Call)
		}
	}
}

func (s *testServer) do(fx []Effect) {
	for i := range fx {
		switch e := &fx[i]; e.Do {
		case Send:
			s.down = append(s.down, packet{e.Conn, e.Msg})
		case Append:
			s.journal = append(s.journal, e.Record())
		case Queue:
			s.ready = append(s.ready, e.Entry)
		case Interrupt:
			s.interrupted = append(s.interrupted, e.Entry)
		case Close:
			s.closed = append(s.closed, e.Conn)
		}
	}
}

// receive lets the server read a message.
func (s *testServer) receive(p packet) {
	if p.m.Kind == Hello {
		session, fx := s.domain.Hello(s.r.now, p.conn, &p.m, nil)
		s.bound[p.conn] = session
		s.do(fx)
		return
	}
	p.m.Recorded = s.recorded
	s.do(s.domain.Receive(s.r.now, s.bound[p.conn], p.conn, &p.m, nil))
}

// deliver lets everything arrive that is under way, both ways, until nothing is.
func (s *testServer) deliver() {
	for len(s.up)+len(s.down) > 0 {
		s.deliverUp()
		s.deliverDown()
	}
}

func (s *testServer) deliverUp() {
	up := s.up
	s.up = nil
	for _, p := range up {
		s.receive(p)
	}
}

func (s *testServer) deliverDown() {
	down := s.down
	s.down, s.sent = nil, append(s.sent, down...)
	for _, p := range down {
		s.r.do(s.r.client.Receive(s.r.now, s.peer, p.conn, &p.m, nil))
	}
}

// unsent tells the client that the network has taken nothing of a call.
func (s *testServer) unsent() {
	s.r.client.Unsent(s.peer, s.up[0].conn, s.up[0].m.Seq)
	s.up = nil
}

// call makes a call to the server. Args say which; it has no checksum but itself.
func (s *testServer) call(i *Invocation) *Invocation {
	i.Method = 7
	s.r.do(s.r.client.Assign(s.r.now, i, s.peer, nil))
	return i
}

// start hands the first call that is ready over to a worker, nil if it must not start.
func (s *testServer) start() *Entry {
	s.r.t.Helper()
	if len(s.ready) == 0 {
		s.r.t.Fatal("nothing is ready")
	}
	e := s.ready[0]
	s.ready = s.ready[1:]
	fx := s.domain.Take(s.r.now, e, nil)
	s.do(fx)
	if len(fx) == 0 || fx[len(fx)-1].Do != Execute {
		return nil
	}
	ok, fx := s.domain.Start(s.r.now, e, nil)
	s.do(fx)
	if !ok {
		return nil
	}
	return e
}

func (s *testServer) finish(e *Entry, reply string) {
	s.do(s.domain.Return(e, OK, []byte(reply), nil))
}

// serve runs all calls that are ready, one after the other, until the network is quiet.
func (s *testServer) serve() (runs int) {
	for s.deliver(); len(s.ready) > 0; s.deliver() {
		if e := s.start(); e != nil {
			runs++
			s.finish(e, "done")
		}
	}
	return runs
}

func (s *testServer) wantEntries(want int) {
	s.r.t.Helper()
	if got, _ := s.domain.Entries(); got != want {
		s.r.t.Errorf("the server keeps %d calls, want %d", got, want)
	}
}

func (i *Invocation) want(t *testing.T, code Code, execution Execution) {
	t.Helper()
	if i.state != finished {
		t.Errorf("the call has not ended, want %s, %s", code, execution)
	} else if i.Outcome.Code != code || i.Outcome.Execution != execution {
		t.Errorf("the call ended with %s, %s, want %s, %s", i.Outcome.Code, i.Outcome.Execution, code, execution)
	}
}

func (r *rig) tick(d time.Duration) {
	r.now += d
	r.do(r.client.Tick(r.now, nil))
}
