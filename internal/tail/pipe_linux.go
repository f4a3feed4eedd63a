package tail

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pipe collects from a pipe. It is safe for concurrent use.
type Pipe struct {
	file *os.File
	most int
	also io.Writer     // may be nil
	done chan struct{} // closed when nobody collects any more

	mu   sync.Mutex
	ring *ring
	buf  [8 << 10]byte
}

// drained is how much is taken out of a pipe at once, bytes: four times what it holds, as a rule.
const drained = 256 << 10

// New makes one of a pipe's end for reading, which does not block, and which it closes. Of what is
// written, the last bytes are kept, most of them, and all goes to also, which may be nil.
func New(pipe *os.File, most int, also io.Writer) *Pipe {
	return &Pipe{file: pipe, most: most, also: also, ring: newRing(most), done: make(chan struct{})}
}

// Collect reads until all who may write have gone, or [Pipe.Stop]. It is called once.
func (p *Pipe) Collect() {
	defer close(p.done)
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	for more := true; more; {
		if raw.Read(func(fd uintptr) (done bool) {
			more, done = p.read(int(fd))
			return done
		}) != nil {
			return
		}
	}
}

// read moves what the pipe holds, at most a buffer full, to the ring: both under the lock, so that
// who has it finds all that was written so far in one of the two. more is false at the end; done is
// false if there was nothing to read.
func (p *Pipe) read(fd int) (more, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := unix.Read(fd, p.buf[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, p.buf[:])
	}
	if errors.Is(err, unix.EAGAIN) {
		return true, false
	}
	n = max(n, 0)
	if p.also != nil && n > 0 {
		_, _ = p.also.Write(p.buf[:n])
	}
	p.ring.write(p.buf[:n])
	return n > 0, true
}

// drain moves what the pipe holds now to the ring. Who writes without end does not keep it.
func (p *Pipe) drain() {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for range drained / len(p.buf) {
			if more, done := p.read(int(fd)); !more || !done {
				return
			}
		}
	})
}

// Tail returns the last of what was written until now.
func (p *Pipe) Tail() []byte {
	p.drain()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ring.bytes()
}

// Forget drops what was written until now.
func (p *Pipe) Forget() {
	p.drain()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ring = newRing(p.most)
}

// Stop ends the collection, after at most wait, and closes the pipe: when all who may write are
// gone, there is nothing to wait for, unless one of them gave it to a stranger.
func (p *Pipe) Stop(wait time.Duration) {
	_ = p.file.SetReadDeadline(time.Now().Add(wait))
	<-p.done
	_ = p.file.Close()
}

// Close closes a pipe of which nobody collects.
func (p *Pipe) Close() error { return p.file.Close() } //nolint:wrapcheck // the file's own
