package shm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// patience is how long a host may take for an answer. It takes microseconds; if it is
// stopped, its peers do not hang with it.
const patience = 10 * time.Second

// Peer is a process that has, or uses, blobs of a host on its machine. It is safe for
// concurrent use; requests go one after the other.
type Peer struct {
	account blob.Handle
	party   blob.PartyID

	mu      sync.Mutex
	socket  *socket // nil: the host is in this process
	here    *guest  // what that has of this peer
	err     error   // why it is of no use any more
	closed  bool
	windows map[windowID]*window
}

// ErrHost is returned for everything after the host has gone, or answered nonsense.
// What is mapped stays until Close, but nobody else sees it any more.
var ErrHost = errors.New("host of blobs is gone")

// Dial connects to a host that serves a Unix socket.
func Dial(ctx context.Context, path, name string) (*Peer, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("host of blobs: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("host of blobs is a %T", c), c.Close())
	}
	return newPeer(u, name)
}

// Attach makes a peer of the file that Host.Pair has made, and takes it over.
func Attach(f *os.File) (*Peer, error) {
	c, err := fileConn(f)
	if err != nil {
		return nil, err
	}
	return newPeer(c, "")
}

func newPeer(c *net.UnixConn, name string) (*Peer, error) {
	p := &Peer{socket: newSocket(c), windows: map[windowID]*window{}}
	answer, _, err := p.ask(&message{op: opHello, text: name})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	p.account, p.party = answer.handle, blob.PartyID(answer.ref)
	return p, nil
}

// Account is the handle by which results are made for this peer.
func (p *Peer) Account() blob.Handle { return p.account }

// Party is what the host calls this peer.
func (p *Peer) Party() blob.PartyID { return p.party }

// Leave leaves the host, which frees what the peer has. What is held stays mapped until it
// is given back; nobody else sees it any more.
func (p *Peer) Leave() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.err == nil { // else it has left
		err = p.leave()
		p.err = ErrHost
	}
	for id := range p.windows {
		p.drop(id.segment)
	}
	return err
}

// Close leaves the host, which frees what the peer has, and unmaps everything: no bytes
// of any blob may be touched any more.
func (p *Peer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	var err error
	if p.err == nil { // else it has left
		err = p.leave()
	}
	p.err, p.closed = ErrHost, true
	for id, w := range p.windows {
		err = errors.Join(err, unix.Munmap(w.bytes))
		delete(p.windows, id)
	}
	return err
}

// Gone tells whether the host is gone, as far as can be seen without asking it.
func (p *Peer) Gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.here != nil {
		return p.err != nil
	}
	raw, err := p.socket.SyscallConn()
	if err != nil {
		return true
	}
	var b [1]byte
	n, seen := 0, error(nil)
	err = raw.Control(func(fd uintptr) { n, _, seen = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT) })
	return err != nil || n <= 0 && !errors.Is(seen, unix.EAGAIN)
}

// tell sends what has no answer.
func (p *Peer) tell(m *message) error {
	switch {
	case p.err != nil:
		return p.err
	case p.here != nil:
		_, _, _ = p.here.answer(m)
		return nil
	}
	if err := p.socket.send(m, nil, patience); err != nil {
		return p.lost(err)
	}
	return nil
}

// lost says that the host is gone.
func (p *Peer) lost(why error) error {
	p.err = fmt.Errorf("%w: %w", ErrHost, why)
	return errors.Join(p.err, p.leave())
}

// leave ends the connection to the host.
func (p *Peer) leave() error {
	if p.here != nil {
		p.here.host.Leave(p.party)
		return nil
	}
	return p.socket.Close()
}

// ask sends a request and waits for its answer.
func (p *Peer) ask(m *message) (message, int, error) {
	if p.err != nil {
		return message{}, -1, p.err
	}
	if p.here != nil {
		return p.askHere(m)
	}
	answer, fd, err := p.exchange(m)
	if err != nil {
		return message{}, -1, p.lost(err)
	}
	if err := answer.err(); err != nil {
		closeFile(fd)
		return message{}, -1, err
	}
	return answer, fd, nil
}

// askHere asks a host in this process.
func (p *Peer) askHere(m *message) (answer message, fd int, err error) {
	answer, f, err := p.here.answer(m)
	for _, id := range p.here.takeDropped() {
		p.drop(id)
	}
	fd = -1
	if err == nil && f != nil {
		if fd, err = unix.Dup(int(f.Fd())); err != nil {
			fd, err = -1, nil
		}
		_ = f.Close()
	}
	if errors.Is(err, ErrClosed) {
		err = p.lost(err)
	}
	answer.flags |= flagOwn // no guard: the host has it all open in this process
	return answer, fd, err
}

func (p *Peer) exchange(m *message) (message, int, error) {
	if err := p.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return message{}, -1, err
	}
	if err := p.socket.send(m, nil, patience); err != nil {
		return message{}, -1, err
	}
	for {
		answer, fd, err := p.socket.receive(true)
		if err != nil {
			return message{}, -1, err
		}
		switch answer.op {
		case opAnswer:
			return answer, fd, nil
		case opDrop:
			closeFile(fd)
			p.drop(answer.segment)
		default:
			closeFile(fd)
			return message{}, -1, fmt.Errorf("%w: op %d in place of an answer", errMessage, answer.op)
		}
	}
}

func (p *Peer) drop(segment blob.SegmentID) {
	for _, write := range []bool{false, true} {
		id := windowID{segment, write}
		if w := p.windows[id]; w != nil {
			if w.gone = true; w.drop() {
				delete(p.windows, id)
			}
		}
	}
}

// do asks for something that is nowhere.
func (p *Peer) do(m *message) (message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, fd, err := p.ask(m)
	closeFile(fd)
	return answer, err
}

// find asks for something that is in memory, and gives access to it.
func (p *Peer) find(m *message) (message, *hold, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, fd, err := p.ask(m)
	if err != nil {
		return message{}, nil, err
	}
	h, err := p.hold(&answer, fd)
	switch {
	case errors.Is(err, ErrUnmapped):
		return message{}, nil, errors.Join(err, p.giveBack(m, &answer))
	case err != nil: // it cannot be asked again
		return message{}, nil, p.lost(err)
	}
	return answer, h, nil
}

// giveBack tells the host that this process has not got what it has just answered.
func (p *Peer) giveBack(asked, answer *message) (err error) {
	write := answer.flags & flagWrite
	if p.windows[windowID{answer.segment, write != 0}] == nil { // else it has, but for the place in it
		err = p.tell(&message{op: opUnmapped, segment: answer.segment, flags: write})
	}
	switch asked.op {
	case opAllocate:
		err = errors.Join(err, p.tell(&message{op: opLetGo, handle: answer.handle}))
	case opAcquire:
		_, _, releaseErr := p.ask(&message{op: opRelease, ref: answer.ref})
		err = errors.Join(err, releaseErr)
	}
	return err
}

// copied is in place of access to what can be read, and cannot be mapped: a copy, by way of the socket.
func (p *Peer) copied(call blob.Call, h blob.Handle) (*hold, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b []byte
	for left := h.Length; left > 0; left = h.Length - uint64(len(b)) {
		part, err := p.read(&message{op: opRead, call: call, handle: h, offset: uint64(len(b)), length: min(left, mostRead)})
		if err != nil {
			return nil, err
		}
		b = append(b, part...)
	}
	return &hold{peer: p, bytes: b, done: true}, nil
}

func (p *Peer) read(m *message) ([]byte, error) {
	if p.here != nil && p.err == nil {
		return p.here.read(m)
	}
	answer, fd, err := p.ask(m)
	if err != nil {
		return nil, err
	}
	closeFile(fd)
	part := make([]byte, mostRead+1)
	n, err := p.socket.Read(part)
	if err == nil && (uint64(n) != m.length || answer.length != m.length) {
		err = fmt.Errorf("%w: %d bytes, %d were asked for", errMessage, n, m.length)
	}
	if err != nil {
		return nil, p.lost(err)
	}
	return part[:n], nil
}

// hold is access to a range of a window.
type hold struct {
	peer  *Peer
	id    windowID
	at    span
	bytes []byte
	done  bool
}

func (p *Peer) hold(m *message, fd int) (*hold, error) {
	h := &hold{peer: p, id: windowID{m.segment, m.flags&flagWrite != 0}, at: span{m.offset, m.offset + m.length}}
	w := p.windows[h.id]
	var err error
	switch {
	case fd < 0 && m.segment != 0 && m.flags&flagFile != 0 && w == nil:
		return nil, fmt.Errorf("%w: no descriptor has come: here or at the host too many are open, or none are permitted", ErrUnmapped)
	case m.segment == 0 || (fd >= 0) != (m.flags&flagFile != 0) || (fd >= 0) == (w != nil):
		closeFile(fd)
		return nil, fmt.Errorf("%w: place in segment %d, flags %#x", errMessage, m.segment, m.flags)
	case w == nil:
		if w, err = openWindow(fd, m); err != nil {
			return nil, err
		}
		p.windows[h.id] = w
	}
	h.bytes, err = w.hold(h.at)
	return h, err
}

// release takes back the access. It is nothing to the host.
func (h *hold) release() error {
	h.peer.mu.Lock()
	defer h.peer.mu.Unlock()
	w := h.peer.windows[h.id]
	if h.bytes = nil; h.done || w == nil { // released before, or the peer is closed
		return nil
	}
	h.done = true
	err := w.release(h.at)
	if w.drop() {
		delete(h.peer.windows, h.id)
	}
	return err
}
