package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// patience bounds every wait of these tests: a loaded machine is slow, a bug
// waits for ever.
const patience = 90 * time.Second

// quickExit spares workers the second that the race detector sleeps at exit.
const quickExit = "GORACE=atexit_sleep_ms=0"

// eventually waits until done is true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// syncBuffer is a log that tests can read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// fixture is an agent with a sidecar's end.
type fixture struct {
	t       testing.TB
	options Options
	log     *syncBuffer
	exe     string
	*sidecar
	cancel context.CancelFunc
	ended  chan error
	over   bool
}

// runAgent runs an agent in this process, and a sidecar connected to it, and
// checks at the end that nothing is left of it.
func runAgent(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &syncBuffer{}, ended: make(chan error, 1), exe: executablePath(t)}
	dir := t.TempDir()
	f.options = Options{
		Socket: filepath.Join(dir, "run", "agent.sock"), WorkRoot: filepath.Join(dir, "work"),
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&f.options)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.ended <- Run(ctx, f.options) }()
	t.Cleanup(func() {
		if !f.over {
			if err := f.stop(); err != nil {
				t.Errorf("agent ended with %v", err)
			}
			f.checkClean()
		}
		if t.Failed() {
			log := f.log.String()
			t.Logf("the end of the agent's log:\n%s", log[max(0, len(log)-4096):])
		}
	})
	f.sidecar = connect(t, f.options.Socket)
	return f
}

func executablePath(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// stop ends the agent and returns what Run returned.
func (f *fixture) stop() error {
	f.over = true
	f.cancel()
	select {
	case err := <-f.ended:
		<-f.done // the agent has closed the connection: read to its end
		return err
	case <-time.After(patience):
		return errors.New("the agent does not end")
	}
}

// checkClean fails the test if the agent left processes or directories.
func (f *fixture) checkClean() {
	f.t.Helper()
	if left := dirNames(f.options.WorkRoot); len(left) > 0 {
		f.t.Errorf("left in the work root: %v", left)
	}
	if left := workerProcesses(f.t, f.options.WorkRoot); len(left) > 0 {
		f.t.Errorf("processes of workers left: %v", left)
	}
}

func dirNames(path string) []string {
	entries, _ := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// workerProcesses finds living processes of workers by their environment.
func workerProcesses(t testing.TB, workRoot string) []int {
	t.Helper()
	var out []int
	for _, pid := range newProcfs().strays(envWorkDir + "=" + workRoot) {
		if alive(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// alive is true of a process that exists and is no zombie.
func alive(pid int) bool {
	p, err := newProcfs().stat(pid)
	return err == nil && p.state != 'Z' && p.state != 'X'
}

// gone is true of a process of which not even a zombie is left.
func gone(pid int) bool {
	_, err := newProcfs().stat(pid)
	return err != nil
}

// sidecar is the other end of the agent's protocol.
type sidecar struct {
	t      testing.TB
	conn   *supervise.Conn
	raw    *net.UnixConn
	hello  supervise.Hello
	events chan supervise.Event
	seen   []supervise.Event // events that came while another was awaited
	done   chan struct{}

	forgetful bool // acknowledges nothing
	keepFDs   bool // leaves the descriptors of events to the test
}

func dial(t testing.TB, socket string) *net.UnixConn {
	t.Helper()
	var c net.Conn
	eventually(t, "the agent listens", func() bool {
		var err error
		c, err = net.Dial("unixpacket", socket)
		return err == nil
	})
	return c.(*net.UnixConn)
}

func connect(t testing.TB, socket string, change ...func(*sidecar)) *sidecar {
	t.Helper()
	raw := dial(t, socket)
	s := &sidecar{t: t, raw: raw, conn: supervise.NewConn(raw), events: make(chan supervise.Event, 4096), done: make(chan struct{})}
	for _, c := range change {
		c(s)
	}
	go s.receive()
	t.Cleanup(s.close)
	first := s.next()
	if first.Kind != supervise.EventHello || first.Hello == nil || first.Hello.Version != supervise.ProtocolVersion {
		t.Fatalf("first event %+v", first)
	}
	s.hello = *first.Hello
	return s
}

func (s *sidecar) receive() {
	defer close(s.done)
	defer close(s.events)
	for {
		var e supervise.Event
		fd, err := s.conn.Receive(&e)
		if err != nil {
			return
		}
		if e.FD = fd; !s.keepFDs {
			closeFD(fd)
		}
		if e.Seq > 0 && !s.forgetful {
			_ = s.conn.Send(supervise.Command{Op: supervise.OpAck, Seq: e.Seq}, -1)
		}
		s.events <- e
	}
}

func (s *sidecar) close() {
	_ = s.conn.Close()
	<-s.done
}

// next returns the next event that was not awaited yet.
func (s *sidecar) next() supervise.Event {
	s.t.Helper()
	if len(s.seen) > 0 {
		e := s.seen[0]
		s.seen = s.seen[1:]
		return e
	}
	select {
	case e, ok := <-s.events:
		if !ok {
			s.t.Fatal("the agent closed the connection")
		}
		return e
	case <-time.After(patience):
		s.t.Fatal("no event")
	}
	return supervise.Event{}
}

// await returns the event of a kind for a worker; others wait their turn.
func (s *sidecar) await(kind supervise.EventKind, worker string) supervise.Event {
	s.t.Helper()
	var others []supervise.Event
	for {
		e := s.next()
		if e.Kind == kind && e.Worker == worker {
			s.seen = append(others, s.seen...)
			return e
		}
		if e.Worker == worker && e.Kind == supervise.EventExited {
			s.t.Fatalf("%s exited while %s was awaited: %+v", worker, kind, e.Report)
		}
		others = append(others, e)
	}
}

// exit awaits the end of a worker and checks its cause.
func (s *sidecar) exit(worker string, cause supervise.Cause) *supervise.Report {
	s.t.Helper()
	e := s.await(supervise.EventExited, worker)
	if e.Report == nil {
		s.t.Fatal("exited without a report")
	}
	if e.Report.Cause != cause {
		s.t.Fatalf("cause %s, want %s; report %+v", e.Report.Cause, cause, e.Report)
	}
	return e.Report
}

func (s *sidecar) send(c supervise.Command, fd int) {
	s.t.Helper()
	if err := s.conn.Send(c, fd); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sidecar) kill(worker string, cause supervise.Cause, grace time.Duration) {
	s.t.Helper()
	s.send(supervise.Command{Op: supervise.OpKill, Worker: worker, Kill: &supervise.Kill{Cause: cause, Grace: grace}}, -1)
}

// testStart has generous bounds, so that only what a test sets itself matters.
func testStart(argv ...string) *supervise.Start {
	return &supervise.Start{
		Argv: argv, StartTimeout: patience, KillGrace: 50 * time.Millisecond, ReapTimeout: patience,
	}
}

// behaviour is a start of this test binary as a worker.
func (f *fixture) behaviour(args ...string) *supervise.Start {
	s := testStart(append([]string{f.exe}, args...)...)
	s.Env = []string{roleEnv + "=worker", quickExit}
	return s
}

// sessionPair makes a connected pair: the end that is handed over, which the
// caller closes, and the client's.
func sessionPair(t testing.TB) (theirs *os.File, client net.Conn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(pair[1]), "client")
	client, err = net.FileConn(ours)
	_ = ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return os.NewFile(uintptr(pair[0]), "session"), client
}

// cold starts a worker with a session and returns the client's end.
func (s *sidecar) cold(worker string, start *supervise.Start, timeout time.Duration) net.Conn {
	s.t.Helper()
	theirs, client := sessionPair(s.t)
	s.send(supervise.Command{
		Op: supervise.OpStart, Worker: worker, Start: start,
		Session: &supervise.Session{ID: "id-" + worker, Key: "key:x", Client: "192.0.2.1:7", Timeout: timeout},
	}, rawFD(s.t, theirs))
	_ = theirs.Close()
	return client
}

// rawFD gives the number of a descriptor without making it blocking, as Fd does.
func rawFD(t testing.TB, f *os.File) int {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	if err := raw.Control(func(fd uintptr) { n = int(fd) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// warm starts a spare.
func (s *sidecar) warm(worker string, start *supervise.Start) {
	s.t.Helper()
	s.send(supervise.Command{Op: supervise.OpStart, Worker: worker, Start: start}, -1)
}

// give hands a session to a spare.
func (s *sidecar) give(worker string, timeout time.Duration) net.Conn {
	s.t.Helper()
	theirs, client := sessionPair(s.t)
	s.send(supervise.Command{
		Op: supervise.OpSession, Worker: worker,
		Session: &supervise.Session{ID: "id-" + worker, Key: "key:x", Client: "192.0.2.1:7", Timeout: timeout},
	}, rawFD(s.t, theirs))
	_ = theirs.Close()
	return client
}

// readAll reads what a worker writes to its session until it ends.
func readAll(t testing.TB, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("session: %v after %q", err, b)
	}
	return string(b)
}

// expect reads exactly want from the session.
func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("session says %q, %v; want %q", b, err, want)
	}
}

// readPIDs reads a line of pids from the session.
func readPIDs(t testing.TB, c net.Conn) []int {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatalf("session: %v after %q", err, line)
		}
		if b[0] == '\n' {
			break
		}
	}
	var out []int
	for word := range strings.SplitSeq(string(line), ",") {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("session says %q", line)
		}
		out = append(out, pid)
	}
	return out
}

// withAndWithoutCgroup runs a test both ways, where there are two.
func withAndWithoutCgroup(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Run("without cgroup", func(t *testing.T) {
		test(t, runAgent(t, func(o *Options) { o.NoCgroup = true }))
	})
	t.Run("with cgroup", func(t *testing.T) {
		groups, err := newGroups(newProcfs())
		if err != nil {
			t.Skipf("no version 2 cgroup can be made here: %v", err)
		}
		groups.close()
		f := runAgent(t)
		if !strings.Contains(f.log.String(), "cgroups=true") {
			t.Fatal("the agent does not use the cgroup that it could")
		}
		test(t, f)
		if strings.Contains(f.log.String(), "not usable after all") {
			t.Error("the agent gave cgroups up")
		}
	})
}

// agentProcess is an agent as a process of its own: this test binary in that
// role.
type agentProcess struct {
	*exec.Cmd
	socket, workRoot string
}

type processOptions struct {
	of     *agentProcess // take over its socket and work root
	stdin  *os.File
	stderr *os.File
	wrap   []string   // a command in front of the agent's
	extra  []string   // arguments
	plan   *guardPlan // it starts as a guard with this plan
}

func startAgentProcess(t testing.TB, o processOptions) *agentProcess {
	t.Helper()
	dir := t.TempDir()
	a := &agentProcess{socket: filepath.Join(dir, "agent.sock"), workRoot: filepath.Join(dir, "work")}
	if o.of != nil {
		a.socket, a.workRoot = o.of.socket, o.of.workRoot
	}
	argv := slices.Concat(o.wrap, []string{executablePath(t), a.socket, a.workRoot}, o.extra)
	a.Cmd = exec.Command(argv[0], argv[1:]...)
	if o.plan != nil {
		var err error
		if a.Args, err = guardArgv(*o.plan, argv); err != nil {
			t.Fatal(err)
		}
	}
	a.Env = append(os.Environ(), roleEnv+"=agent", quickExit)
	if o.stdin != nil {
		a.Stdin = o.stdin
	}
	switch {
	case o.stderr != nil:
		a.Stderr = o.stderr
	case testing.Verbose():
		a.Stderr = os.Stderr
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Process.Kill()
		_ = a.Wait()
	})
	return a
}

// stop ends the agent in order and checks that it left nothing.
func (a *agentProcess) stop(t testing.TB) {
	t.Helper()
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		t.Errorf("agent ended with %v", err)
	}
	a.checkClean(t)
}

func (a *agentProcess) checkClean(t testing.TB) {
	t.Helper()
	if left := dirNames(a.workRoot); len(left) > 0 {
		t.Errorf("left in the work root: %v", left)
	}
	if left := workerProcesses(t, a.workRoot); len(left) > 0 {
		t.Errorf("processes of workers left: %v", left)
	}
}
