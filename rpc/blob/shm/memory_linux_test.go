package shm

import (
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAReaderCannotBecomeAWriter: the descriptor that comes with what may only be read
// is good for nothing else, nor can anybody make a segment shorter.
func TestAReaderCannotBecomeAWriter(t *testing.T) {
	m, err := newMemory(8192, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.open(false)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(r.Fd())
	if b, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Errorf("mapped to be written: %d bytes", len(b))
	}
	if _, err := unix.FcntlInt(m.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err == nil {
		t.Error("a seal could be added")
	}
	if err := m.file.Truncate(4096); !errors.Is(err, unix.EPERM) {
		t.Errorf("made shorter: %v", err)
	}
	if info, err := m.file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := errors.Join(r.Close(), m.discard()); err != nil {
		t.Error(err)
	}
}

// TestAThiefOfAnotherUser has only lent what it may read, and tries everything to write
// to it.
func TestAThiefOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	h := newHost(t, Options{})
	owner := connect(t, h, "owner")
	b, shared := sharedBlob(t, owner, 4096)
	b.Bytes()[0] = 77
	_, f, err := h.Pair("thief")
	if err != nil {
		t.Fatal(err)
	}
	thief := start(t, "thief "+hex.EncodeToString(shared.Append(nil)), f)
	_ = f.Close()
	if line := thief.line(); line != "<nil>" {
		t.Error(line)
	}
}

// TestTheDeathOfAProcessThatIsFoundByItsNumber, as on kernels before 6.5.
func TestTheDeathOfAProcessThatIsFoundByItsNumber(t *testing.T) {
	h := newHost(t, Options{})
	c := rawPeer(t, listen(t, h))
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if controlErr := raw.Control(func(s uintptr) { fd, err = processByID(int(s)) }); err != nil || controlErr != nil {
		t.Fatal(err, controlErr)
	}
	defer func() { _ = unix.Close(fd) }()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		t.Errorf("this process is dead: %d, %v", n, err)
	}
	_ = c.Close()
	if f, err := process(c); err == nil {
		t.Errorf("process of a closed connection: %v", f.Name())
	}
}

// TestDiscardGivesMemoryBackThatOthersHaveMapped: by the blocks of the file.
func TestDiscardGivesMemoryBackThatOthersHaveMapped(t *testing.T) {
	m, err := newMemory(1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.open(false)
	if err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(int(r.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	fillWith(m.bytes, 1)
	if n := blocks(); n != 2048 {
		t.Errorf("%d blocks are used", n)
	}
	if err := m.discard(); err != nil {
		t.Error(err)
	}
	if n := blocks(); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
	_ = r.Close()
}
