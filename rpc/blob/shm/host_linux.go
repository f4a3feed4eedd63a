package shm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// tick is how often leases, graces and unused segments are looked at.
const tick = 100 * time.Millisecond

// Host has the memory of blobs, and the table that says whose it is. It is safe for
// concurrent use.
type Host struct {
	log   *slog.Logger
	huge  bool
	letGo func([]byte) error
	hello time.Duration // see helloPatience
	read  time.Duration // see readPatience
	begun time.Time
	stop  chan struct{}
	tasks sync.WaitGroup

	copying  sync.RWMutex   // Close waits until nobody copies
	borrowed sync.WaitGroup // and until nobody has a Range

	mu       sync.Mutex
	table    *blob.Table
	segments map[blob.SegmentID]*memory
	lost     map[blob.SegmentID]bool // something may write there for ever
	guests   map[blob.PartyID]*guest
	open     map[*socket]struct{}
	returned chan struct{} // is closed when a Range is
	closed   bool
	strange  []*guest          // who have not said yet who they are, the first first
	tickets  map[string]string // names of those who may connect; nil: all may
	payer    Payer
	refused  blob.Refused
	plain    int  // segments that are not of huge pages although that was wanted
	poor     bool // it could not pass something
	short    bool // it could not make something
}

// ErrClosed is returned for everything after Close.
var ErrClosed = errors.New("host of blobs is closed")

// errMemory means that the system gives the host no memory for blobs.
var errMemory = errors.New("no memory for blobs")

// NewHost starts a host.
func NewHost(o Options) *Host {
	c := blob.Config{Limits: o.Limits, Segment: o.Segment, Idle: o.Idle, Grace: o.Grace}
	_, _ = rand.Read(c.Domain[:]) // never fails
	_, _ = rand.Read(c.Key[:])
	h := &Host{
		log: o.Logger, huge: o.HugePages, letGo: o.LetGo, hello: helloPatience, read: readPatience, begun: time.Now(), stop: make(chan struct{}),
		table: blob.NewTable(c), segments: map[blob.SegmentID]*memory{}, lost: map[blob.SegmentID]bool{},
		guests: map[blob.PartyID]*guest{}, open: map[*socket]struct{}{}, returned: make(chan struct{}),
		payer: func(blob.PartyID, blob.Call, uint64) (blob.Handle, error) { return blob.Handle{}, blob.ErrCall },
	}
	if o.Tickets {
		h.tickets = map[string]string{}
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	if h.letGo == nil {
		h.letGo = func([]byte) error { return nil }
	}
	h.tasks.Go(h.expire)
	return h
}

// Close ends all connections, waits until every [Range] is released, and gives the
// memory back. Peers keep what they have mapped until they let it go: one of them may be
// copying a result now.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	for s := range h.open {
		_ = s.Close()
	}
	h.mu.Unlock()
	close(h.stop)
	h.tasks.Wait()
	h.borrowed.Wait()
	h.copying.Lock()
	defer h.copying.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	for id, m := range h.segments {
		if !h.lost[id] {
			err = errors.Join(err, h.discard(m, (*memory).close))
		}
		delete(h.segments, id)
	}
	return err
}

func (h *Host) now() time.Duration { return time.Since(h.begun) }

// with does something with the table, and gives it the memory that it needs for that.
func (h *Host) with(do func(t *blob.Table, now time.Duration) error) error {
	h.mu.Lock()
	err := h.locked(do)
	h.count(err)
	retired := h.retire()
	h.mu.Unlock()
	for _, m := range retired { // takes milliseconds, if there is much of it
		if err := h.discard(m, (*memory).discard); err != nil {
			h.log.Error("memory of blobs is not given back", "error", err)
		}
	}
	return err
}

// discard gives memory back that no device has any more.
func (h *Host) discard(m *memory, giveBack func(*memory) error) error {
	if err := h.letGo(m.bytes); err != nil {
		return fmt.Errorf("a device keeps a segment of %d bytes: %w", len(m.bytes), err)
	}
	return giveBack(m)
}

// count counts what was refused.
func (h *Host) count(err error) {
	switch {
	case err == nil, errors.Is(err, ErrClosed), errors.Is(err, blob.ErrCall): // a call that has ended may be ended again
	case errors.Is(err, blob.ErrQuota):
		h.refused.Quota++
	case errors.Is(err, blob.ErrBusy):
		h.refused.Busy++
	case errors.Is(err, errMemory):
		h.refused.Memory++
	default:
		h.refused.Other++
	}
}

func (h *Host) locked(do func(t *blob.Table, now time.Duration) error) error {
	for {
		if h.closed {
			return ErrClosed
		}
		err := do(h.table, h.now())
		var need *blob.Need
		if !errors.As(err, &need) {
			return err
		}
		m, err := h.memory(need)
		if err != nil {
			if !h.short {
				h.short = true
				h.log.Warn("no memory for blobs: what is long goes in messages", "error", err)
			}
			return fmt.Errorf("%w: %w", errMemory, err)
		}
		h.segments[h.table.Grow(h.now(), need)] = m
	}
}

// endPatience is how long bytes are waited for that somebody far away has got, but has
// not said so yet.
const endPatience = time.Second

// await is with, which waits for who is in the way and about to end.
func (h *Host) await(do func(t *blob.Table, now time.Duration) error) error {
	var timeout <-chan time.Time
	for {
		h.mu.Lock()
		returned := h.returned
		h.mu.Unlock()
		err := h.with(do)
		var busy *blob.BusyError
		if !errors.As(err, &busy) || !busy.Ending {
			return err
		}
		if timeout == nil {
			timeout = time.After(endPatience)
		}
		select {
		case <-returned:
		case <-timeout:
			return err
		case <-h.stop:
			return ErrClosed
		}
	}
}

// retire takes out the memory that the table does not use any more.
func (h *Host) retire() (retired []*memory) {
	for _, id := range h.table.Retired() {
		if m := h.segments[id]; m != nil { // else Close has taken it
			retired = append(retired, m)
		}
		delete(h.segments, id)
		for _, g := range h.guests {
			g.drop(id)
		}
	}
	return retired
}

// Begin lends a call its arguments: see [blob.Table.Begin]. When it returns, snapshots
// have been made; what it returns is for the callee.
func (h *Host) Begin(call blob.Call, callee blob.PartyID, args []blob.Arg) ([]blob.Arg, error) {
	var loan blob.Loan
	err := h.await(func(t *blob.Table, now time.Duration) (err error) {
		loan, err = t.Begin(now, call, callee, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := h.copy(loan.Copies); err != nil {
		_, endErr := h.End(call, blob.Failed, nil)
		return nil, errors.Join(err, endErr)
	}
	return loan.Args, nil
}

// End ends a call, whose handler must not run any more: see [blob.Table.End]. When it
// returns, snapshots have been copied back where they had to be, and what is in [blob.Ended].Again
// is its owner's alone.
func (h *Host) End(call blob.Call, outcome blob.Outcome, made []blob.Handle) (blob.Ended, error) {
	var e blob.Ended
	err := h.with(func(t *blob.Table, _ time.Duration) (err error) {
		e, err = t.End(call, outcome, made)
		return err
	})
	if err != nil {
		return blob.Ended{}, err
	}
	err = h.copy(e.Copies)
	return e, errors.Join(err, h.with(func(t *blob.Table, now time.Duration) error {
		err := t.Settle(now, call)
		e.Again = t.Again(e.Again)
		return err
	}))
}

// Room lends a call that has begun room for a result: see [blob.Table.Room].
func (h *Host) Room(call blob.Call, callee blob.PartyID, account blob.Handle, size uint64) (a blob.Arg, err error) {
	err = h.with(func(t *blob.Table, now time.Duration) (err error) {
		var p blob.Place
		a, p, err = t.Room(now, call, callee, account, size)
		a.Segment, a.Offset = p.Segment, p.Offset
		return err
	})
	return a, err
}

// copy copies what is lent to a call: it stays where it is meanwhile.
func (h *Host) copy(copies []blob.Copy) error {
	h.copying.RLock()
	defer h.copying.RUnlock()
	for _, c := range copies {
		h.mu.Lock()
		from, to := h.segments[c.From.Segment], h.segments[c.To.Segment]
		h.mu.Unlock()
		if from == nil || to == nil {
			return ErrClosed
		}
		copy(to.bytes[c.To.Offset:c.To.Offset+c.To.Length], from.bytes[c.From.Offset:c.From.Offset+c.From.Length])
	}
	return nil
}

// Look shows the bytes of an argument that Begin has returned, in this process. Others may change
// them meanwhile. It must not be called behind the end of the loan.
func (h *Host) Look(a blob.Arg, at func(bytes []byte)) {
	h.copying.RLock()
	defer h.copying.RUnlock()
	h.mu.Lock()
	m := h.segments[a.Segment]
	h.mu.Unlock()
	if m != nil {
		at(m.bytes[a.Offset : a.Offset+a.Handle.Length])
	}
}

// Leave takes all that a party has, as when it dies, and ends its connection. A server
// that has waited for its worker's end need not wait for the host to see it.
func (h *Host) Leave(id blob.PartyID) {
	_ = h.with(func(t *blob.Table, now time.Duration) error {
		if g := h.guests[id]; g != nil {
			_ = g.Close()
		}
		delete(h.guests, id)
		t.Leave(now, id)
		return nil
	})
}

// OnResult says who is asked when a callee wants to make a result that nobody has asked for.
// Default: nobody is, and callees are refused.
func (h *Host) OnResult(p Payer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.payer = p
}

// Discard lets a result go that its owner does not come to know of.
func (h *Host) Discard(result blob.Handle) {
	_ = h.with(func(t *blob.Table, now time.Duration) error { return t.Discard(now, result) })
}

// Ticket lets somebody connect as that name who shows it, once, until it is revoked.
func (h *Host) Ticket(name string) (ticket [16]byte, revoke func()) {
	_, _ = rand.Read(ticket[:]) // never fails
	key := hex.EncodeToString(ticket[:])
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tickets[key] = name
	return ticket, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tickets, key)
	}
}

// admit tells as whom somebody may connect who has said that.
func (h *Host) admit(said string) (name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tickets == nil {
		return said, nil
	}
	name, ok := h.tickets[said]
	if !ok {
		return "", fmt.Errorf("%w: nobody has that ticket", blob.ErrParty)
	}
	delete(h.tickets, said) // or who has it would have as many parties as he likes
	return name, nil
}

// Snapshot tells who has what.
func (h *Host) Snapshot() blob.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.table.Snapshot(h.now())
	s.Refused = h.refused
	return s
}

// Counts is Snapshot without its Holdings, which are many.
func (h *Host) Counts() blob.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.table.Counts()
	s.Refused = h.refused
	return s
}

// expire ends what is over.
func (h *Host) expire() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		}
		var crashed []blob.Call
		_ = h.with(func(t *blob.Table, now time.Duration) error {
			crashed = t.Expire(now)
			return nil
		})
		for _, call := range crashed {
			if _, err := h.End(call, blob.Crashed, nil); err == nil {
				h.log.Warn("nobody has ended a call whose callee is dead", "call", call)
			}
		}
	}
}

// Serve accepts peers until the listener is closed. Its network is unixpacket; who may
// connect is a matter of the permissions of its directory.
func (h *Host) Serve(l *net.UnixListener) error {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // too many files: others may close some
			h.log.Warn("accept of a peer", "error", err)
			select {
			case <-h.stop:
				return ErrClosed
			case <-time.After(tick):
			}
			continue
		}
		if err := h.start(newGuest(h, c), true); err != nil {
			return err
		}
	}
}

// Pair makes a party and the socket by which it is served: the file is for its process,
// which gives it to [Attach]; close it here once that has it. So the server knows which
// party its worker is, whatever that says. Of its death the host knows by the end of
// the connection; call Leave when it is known otherwise.
func (h *Host) Pair(name string) (blob.PartyID, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("socket for a peer: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "blobs")
	c, err := fileConn(os.NewFile(uintptr(fds[0]), "blobs"))
	if err != nil {
		return 0, nil, errors.Join(err, theirs.Close())
	}
	g := newGuest(h, c)
	if err := g.join(name); err != nil {
		return 0, nil, errors.Join(err, g.Close(), theirs.Close())
	}
	if err := h.start(g, false); err != nil {
		return 0, nil, errors.Join(err, theirs.Close())
	}
	return g.party, theirs, nil
}

// fileConn makes a connection of a socket, and closes the file.
func fileConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("socket is a %T", c), c.Close())
	}
	return u, nil
}

// Connect makes a peer in this process, which needs no connection.
func (h *Host) Connect(name string) (*Peer, error) {
	g := &guest{host: h, passed: map[blob.SegmentID]uint8{}}
	if err := g.join(name); err != nil {
		return nil, err
	}
	return &Peer{here: g, account: g.account, party: g.party, windows: map[windowID]*window{}}, nil
}
