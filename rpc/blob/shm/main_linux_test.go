package shm

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// childEnv says what the test binary does when it is started as a process to be killed:
// "peer", by the socket that is descriptor 3; "dial PATH"; "host PATH"; "unprivileged", or what memfd_create fails
// with, and one of these.
const childEnv = "BLOB_TEST_CHILD"

func TestMain(m *testing.M) {
	what, path, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch what {
	case "peer", "dial":
		if err := peerChild(what, path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	case "busy":
		fmt.Println("error:", busyChild(fromHex(path)))
	case "thief":
		fmt.Println(thiefChild(fromHex(path)))
	case "host":
		hostChild(path)
	case "unprivileged":
		fmt.Println("error:", unprivileged(path))
	case "EPERM", "ENOSYS":
		fmt.Println("error:", withoutMemfd(map[string]unix.Errno{"EPERM": unix.EPERM, "ENOSYS": unix.ENOSYS}[what], path))
	case "echo":
		echoChild()
	default:
		goleak.VerifyTestMain(m)
	}
}

func hostChild(path string) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	said := &sayings{}
	h := NewHost(Options{Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	fmt.Println("ready")
	go func() { fmt.Println("error:", h.Serve(l)) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer, err := hostAct(h, said, strings.Fields(lines.Text()))
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}

// sayings count what is written.
type sayings struct{ atomic.Int64 }

func (s *sayings) Write(b []byte) (int, error) {
	s.Add(1)
	return len(b), nil
}

func hostAct(h *Host, said *sayings, words []string) (string, error) {
	switch words[0] {
	case "starve":
		return strconv.Itoa(starve(words[1])), nil
	case "begin": // party, handle to be read
		callee, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			return "", err
		}
		args, err := h.Begin(blob.Call{Seq: 1}, blob.PartyID(callee), []blob.Arg{{Handle: fromHex(words[2]), Mode: blob.In}})
		return hex.EncodeToString(blob.AppendArgs(nil, args)), err
	case "refused":
		r := h.Snapshot().Refused
		return fmt.Sprintf("%d %d", r.Memory, r.Unmapped), nil
	case "said":
		return strconv.FormatInt(said.Load(), 10), nil
	}
	return "", errors.New("what?")
}

// unprivileged makes this process another one, for which the limits of the system hold although it is root's.
func unprivileged(what string) error {
	runtime.LockOSThread()
	for _, capability := range []uintptr{unix.CAP_SYS_RESOURCE, unix.CAP_SYS_ADMIN} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) { // it has none
			return err
		}
	}
	return become(what)
}

// withoutMemfd makes this process another one, for which memfd_create fails, as seccomp profiles have it.
func withoutMemfd(with unix.Errno, what string) error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MEMFD_CREATE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	return become(what)
}

func become(what string) error {
	if err := os.Setenv(childEnv, what); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// busyChild does all that a peer can do, without end: with blobs of its own, and with
// one of somebody else, which it has the handle of.
func busyChild(theirs blob.Handle) error {
	p, err := Attach(os.NewFile(3, "blobs"))
	if err != nil {
		return err
	}
	for i := uint64(0); ; i++ {
		b, err := p.Allocate(1<<(i%22), blob.Read|blob.Write)
		if err != nil {
			return err
		}
		b.Bytes()[0] = 1
		h, err := b.Share(0, 1, blob.Read|blob.Write)
		if err != nil {
			return err
		}
		for mode, h := range map[blob.Mode]blob.Handle{blob.InOut: h, blob.In: theirs} {
			v, err := p.Open(h, mode, 0)
			if err != nil {
				return err
			}
			if i%3 > 0 {
				if err := v.Close(); err != nil {
					return err
				}
			}
		}
		if i%5 > 0 {
			if err := b.Free(); err != nil {
				return err
			}
		}
		if i == 20 {
			fmt.Println("ready")
		}
	}
}

// thiefChild gets a descriptor to read by, and tries to get one to write by of it.
func thiefChild(h blob.Handle) error {
	c, err := fileConn(os.NewFile(3, "blobs"))
	if err != nil {
		return err
	}
	s, fd := newSocket(c), -1
	for _, m := range []message{{op: opHello}, {op: opAcquire, mode: blob.In, handle: h}} {
		if err := s.send(&m, nil, soon); err != nil {
			return err
		}
		if m, fd, err = s.receive(true); err != nil {
			return err
		}
		if err := m.err(); err != nil {
			return err
		}
	}
	b, err := mapFile(fd, 4<<20, false)
	if err != nil || b[0] != 77 {
		return fmt.Errorf("cannot read: %w", err)
	}
	if err := unix.Mprotect(b, unix.PROT_WRITE); !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("a map can be made to be written: %w", err)
	}
	if _, err := unix.Mmap(fd, 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("the segment can be mapped to be written: %w", err)
	}
	if _, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("the segment can be opened to be written: %w", err)
	}
	if err := unix.Fchmod(fd, 0o666); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the mode of the segment can be changed: %w", err)
	}
	return nil
}

// actor does what a test tells it to, by lines; it answers each by a line.
type actor struct {
	*Peer
	blobs []*Blob
	views []*View
}

func peerChild(how, path string) error {
	var p *Peer
	var err error
	if how == "dial" {
		p, err = Dial(context.Background(), path, "child")
	} else {
		p, err = Attach(os.NewFile(3, "blobs"))
	}
	if err != nil {
		return err
	}
	a := &actor{Peer: p}
	fmt.Println(p.Party(), hex.EncodeToString(p.Account().Append(nil)))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer, err := a.act(strings.Fields(lines.Text()))
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
	return nil
}

func (a *actor) act(words []string) (string, error) {
	word := func(i int) string { return words[i] }
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(words[i], 10, 64)
		return n
	}
	switch words[0] {
	case "allocate":
		b, err := a.Allocate(number(1), blob.Read|blob.Write)
		if err != nil {
			return "", err
		}
		a.blobs = append(a.blobs, b)
		h, err := b.Share(0, number(1), blob.Read|blob.Write)
		return hex.EncodeToString(h.Append(nil)), err
	case "fill": // blob number, byte
		fillWith(a.blobs[number(1)].Bytes(), byte(number(2)))
	case "free":
		return "", a.blobs[number(1)].Free()
	case "open":
		v, err := a.Open(fromHex(word(2)), modeOf(word(1)), 0)
		a.views = append(a.views, v)
		return "", err
	case "argument": // seq, argument
		b, err := hex.DecodeString(word(2))
		if err != nil {
			return "", err
		}
		args, _, err := blob.ParseArgs(b, 1)
		if err != nil {
			return "", err
		}
		v, err := a.Argument(blob.Call{Seq: number(1)}, args[0])
		a.views = append(a.views, v)
		return "", err
	case "sum":
		sum := 0
		for _, c := range a.views[number(1)].Bytes() {
			sum += int(c)
		}
		return strconv.Itoa(sum), nil
	case "spoil": // view number, byte
		fillWith(a.views[number(1)].Bytes(), byte(number(2)))
	case "beyond": // view number: a stray write, a page behind what is lent
		b := a.views[number(1)].Bytes()
		*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), len(b)+blob.Page)) = 1
	case "close":
		return "", a.views[number(1)].Close()
	case "starve": // of what; "nothing" ends it
		return strconv.Itoa(starve(word(1))), nil
	case "child": // a process that inherits the connection, and outlives this one
		f, err := a.socket.File()
		if err != nil {
			return "", err
		}
		cmd := exec.Command("sleep", "30")
		cmd.ExtraFiles = []*os.File{f}
		err = cmd.Start()
		return strconv.Itoa(cmd.Process.Pid), errors.Join(err, f.Close())
	default:
		return "", errors.New("what?")
	}
	return "", nil
}

// starve takes from this process what it needs to map a segment, or to pass it. It returns how many descriptors it has.
func starve(of string) int {
	set := func(what int, to unix.Rlimit) {
		if err := unix.Setrlimit(what, &to); err != nil {
			panic(err)
		}
	}
	most := map[int]uint64{}
	for _, what := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_AS} {
		var have unix.Rlimit
		if err := unix.Getrlimit(what, &have); err != nil {
			panic(err)
		}
		set(what, unix.Rlimit{Cur: have.Max, Max: have.Max})
		most[what] = have.Max
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	switch of {
	case "descriptors":
		set(unix.RLIMIT_NOFILE, unix.Rlimit{Cur: 3, Max: most[unix.RLIMIT_NOFILE]})
	case "flight": // as many descriptors are on their way as may be
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		if err := unix.Sendmsg(fds[0], []byte{1}, unix.UnixRights(slices.Repeat([]int{0}, 250)...), nil, 0); err != nil {
			panic(err)
		}
		set(unix.RLIMIT_NOFILE, unix.Rlimit{Cur: 200, Max: most[unix.RLIMIT_NOFILE]})
	case "room":
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			panic(err)
		}
		pages, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseUint(pages, 10, 64)
		set(unix.RLIMIT_AS, unix.Rlimit{Cur: n*uint64(os.Getpagesize()) + 128<<20, Max: most[unix.RLIMIT_AS]})
	}
	return len(fds)
}

func fillWith(b []byte, c byte) {
	for i := range b {
		b[i] = c
	}
}

func modeOf(s string) blob.Mode {
	for m := blob.Pin; m <= blob.InOut; m++ {
		if m.String() == s {
			return m
		}
	}
	panic(s)
}

func fromHex(s string) blob.Handle {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	h, err := blob.ParseHandle(b)
	if err != nil {
		panic(err)
	}
	return h
}

// child is a process that is told what to do, and killed.
type child struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      *os.File
	lines   *bufio.Scanner
	party   blob.PartyID
	account blob.Handle
}

func start(t *testing.T, what string, files ...*os.File) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, toChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self), in: toChild}
	if what, _, _ := strings.Cut(what, " "); what == "thief" { // as somebody else, who does not get at this file by its name
		c.cmd.Path = "/proc/self/exe"
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	c.cmd.Env = append(os.Environ(), childEnv+"="+what)
	c.cmd.Stdin, c.cmd.ExtraFiles = in, files
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, 1<<20)
	t.Cleanup(c.kill)
	return c
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		_ = c.in.Close()
	}
}

func (c *child) line() string {
	c.t.Helper()
	if !c.lines.Scan() {
		c.t.Fatalf("child has ended: %v", c.lines.Err())
	}
	return c.lines.Text()
}

// try tells the child to do something, and returns what it says.
func (c *child) try(format string, args ...any) string {
	c.t.Helper()
	fmt.Fprintf(c.in, format+"\n", args...)
	return c.line()
}

// do is try that succeeds.
func (c *child) do(format string, args ...any) string {
	c.t.Helper()
	answer := c.try(format, args...)
	if strings.HasPrefix(answer, "error") {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), answer)
	}
	return answer
}

// pairedChild is a process to whose peer the host gave its socket.
func pairedChild(t *testing.T, h *Host, name string) *child {
	t.Helper()
	_, f, err := h.Pair(name)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, "peer", f)
	_ = f.Close()
	c.hello()
	return c
}

func (c *child) hello() {
	c.t.Helper()
	id, account, ok := strings.Cut(c.line(), " ")
	if !ok {
		c.t.Fatalf("child says %q", id)
	}
	n, _ := strconv.ParseUint(id, 10, 64)
	c.party, c.account = blob.PartyID(n), fromHex(account)
}

// belongings are what a process has open or mapped, as far as it is of this package.
type belongings struct {
	sockets, memfds, pidfds, maps, shm int
}

// beyond tells whether there is more of anything than there was. Less there may be: what a test leaves to a
// device for ever has a file that the collector closes some time.
func (b belongings) beyond(was belongings) bool {
	return b.sockets > was.sockets || b.memfds > was.memfds || b.pidfds > was.pidfds || b.maps > was.maps || b.shm > was.shm
}

func has(t *testing.T) (b belongings) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		switch {
		case strings.HasPrefix(to, "socket:"):
			b.sockets++
		case strings.HasPrefix(to, "/memfd:rpcpool"):
			b.memfds++
		case strings.Contains(to, "pidfd"):
			b.pidfds++
		}
	}
	b.maps = mapped(t)
	shm, err := os.ReadDir("/dev/shm")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	b.shm = len(shm)
	return b
}

// mapped counts the maps of segments. One whose guard is open in places counts more.
func mapped(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "/memfd:rpcpool")
}

// newHost starts a host; when the test is over it must have left nothing.
func newHost(t *testing.T, o Options) *Host {
	t.Helper()
	before := has(t)
	h := NewHost(o)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if after := has(t); after.beyond(before) {
			t.Errorf("left over: %+v, before it were %+v", after, before)
		}
	})
	return h
}

// listen makes a host serve a socket.
func listen(t *testing.T, h *Host) (path string) {
	t.Helper()
	path = t.TempDir() + "/blobs"
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- h.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return path
}

// connect makes a peer that has a connection, as those of other processes do.
func connect(t *testing.T, h *Host, name string) *Peer {
	t.Helper()
	_, f, err := h.Pair(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Attach(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// within waits until something is so, and fails if it takes longer.
func within(t *testing.T, most time.Duration, what string, so func() bool) {
	t.Helper()
	begin := time.Now()
	for !so() {
		if time.Since(begin) > most {
			t.Fatalf("after %v: not %s", most, what)
		}
		time.Sleep(100 * time.Microsecond)
	}
	t.Logf("%s after %v", what, time.Since(begin).Round(100*time.Microsecond))
}

// atRest tells whether nobody has anything.
func atRest(h *Host) func() bool {
	return func() bool {
		s := h.Snapshot()
		return s.Blobs == 0 && s.Calls == 0 && s.Segments == 0 && s.Bytes == 0
	}
}
