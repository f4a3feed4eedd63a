package direct

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// output keeps the last of what a worker writes.
type output struct {
	pipe *os.File
	copy io.Writer // may be nil
	most int
	done chan struct{} // closed when nobody collects any more

	mu   sync.Mutex
	kept []byte // at most twice what is wanted
	buf  [4 << 10]byte
}

// collect reads until all who may write have gone, or stop.
func (o *output) collect() {
	defer close(o.done)
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		return
	}
	for more := true; more; {
		if raw.Read(func(fd uintptr) (done bool) {
			more, done = o.read(int(fd))
			return done
		}) != nil {
			return
		}
	}
}

// read moves a buffer full from the pipe to what is kept. more is false at the end;
// done is false if there is nothing now.
func (o *output) read(fd int) (more, done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := unix.Read(fd, o.buf[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, o.buf[:])
	}
	if errors.Is(err, unix.EAGAIN) {
		return true, false
	}
	n = max(n, 0)
	if o.copy != nil && n > 0 {
		_, _ = o.copy.Write(o.buf[:n])
	}
	if o.kept = append(o.kept, o.buf[:n]...); len(o.kept) > 2*o.most {
		o.kept = o.kept[:copy(o.kept, o.kept[len(o.kept)-o.most:])]
	}
	return n > 0, true
}

// tail returns the last of what was written until now.
func (o *output) tail() []byte {
	if raw, err := o.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			for range 64 { // four times what a pipe holds: who writes without end does not keep it
				if more, done := o.read(int(fd)); !more || !done {
					return
				}
			}
		})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]byte(nil), o.kept[max(len(o.kept)-o.most, 0):]...)
}

// stop ends the collection: descendants that write are about to be killed.
func (o *output) stop() {
	_ = o.pipe.SetReadDeadline(time.Now())
	<-o.done
	_ = o.pipe.Close()
}
