package calls

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/workers"
)

func TestACallRunsInAWorker(t *testing.T) {
	r := newRig(t, Options{Workers: 2})
	got, err := r.call("snprintf", []any{64, "The answer is %d", 42})
	if err != nil || got != "The answer is 42" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := r.call("nope", nil); !errors.Is(err, rpc.Unimplemented) || !errors.Is(err, rpc.NotExecuted) {
		t.Errorf("a method that workers do not have: %v", err)
	}
	if err := r.end(); err != nil {
		t.Errorf("told to stop: %v", err)
	}
}

// TestAWorkersCrashIsItsCallsAlone: the caller is told how the worker ended, and the
// next call finds another.
func TestAWorkersCrashIsItsCallsAlone(t *testing.T) {
	r := newRig(t, Options{})
	_, err := r.call("crash", "exit")
	var e *rpc.Error
	if !errors.As(err, &e) || e.Code != rpc.Crashed || e.Execution != rpc.Indeterminate {
		t.Fatalf("got %v", err)
	}
	report, err := crash.Parse(e.Detail)
	if err != nil || report.Cause != crash.Exit || report.Status != 3 || report.Calls != 1 {
		t.Errorf("report %+v, %v", report, err)
	}
	if got, err := r.call("echo", "hello"); err != nil || got != "hello" {
		t.Errorf("after it: %v, %v", got, err)
	}
}

// TestDrain: what runs may end, what comes is refused, what waits too.
func TestDrain(t *testing.T) {
	r := newRig(t, Options{DrainTimeout: patience, MaxTimeout: patience})
	runs := rpc.Spawn[any](t.Context(), r.client, "sleep", 2)
	r.running(1)
	waits := rpc.Spawn[any](t.Context(), r.client, "echo", "too late")
	eventually(t, "a call waits", func() bool { return r.server.core.Counts().Waiting == 1 })
	r.stop()
	for what, f := range map[string]*rpc.Future[any]{"what waits": waits, "what comes": rpc.Spawn[any](t.Context(), r.client, "echo", 1)} {
		if _, err := f.Get(t.Context()); !errors.Is(err, rpc.Refused) && !errors.Is(err, rpc.NoServer) || !errors.Is(err, rpc.NotExecuted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := runs.Get(t.Context()); err != nil {
		t.Errorf("what runs: %v", err)
	}
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := r.server.Ready(); err == nil || err.Error() != "the server drains" {
		t.Errorf("ready: %v", err)
	}
}

// TestDrainThatTakesTooLong: the worker is ended, and the caller is told.
func TestDrainThatTakesTooLong(t *testing.T) {
	r := newRig(t, Options{})
	runs := rpc.Spawn[any](t.Context(), r.client, "sleep", 3600)
	r.running(1)
	if err := r.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := runs.Get(t.Context()); !errors.Is(err, rpc.Crashed) || !errors.Is(err, rpc.Indeterminate) {
		t.Errorf("got %v", err)
	}
}

// starterFunc starts workers by a function.
type starterFunc func(ctx context.Context) (workers.Process, error)

func (f starterFunc) Start(ctx context.Context) (workers.Process, error) { return f(ctx) }

func TestReadyIsWhileAWorkerServes(t *testing.T) {
	r := newRig(t, Options{Starter: starterFunc(func(context.Context) (workers.Process, error) {
		return nil, errors.New("no such program")
	})})
	eventually(t, "the reason is known", func() bool {
		err := r.server.Ready()
		return err != nil && strings.Contains(err.Error(), "no such program")
	})
	if err := r.server.Alive(); err != nil {
		t.Errorf("a new process does not help: %v", err)
	}
	good := newRig(t, Options{})
	eventually(t, "a worker serves", func() bool { return good.server.Ready() == nil })
}

func TestACoreThatHangsIsFoundOut(t *testing.T) {
	var p pulse
	hangs, start := make(chan struct{}), time.Now()
	for _, after := range []time.Duration{0, stalledAfter - 1} {
		if err := p.check(start.Add(after), func() { <-hangs }); err != nil {
			t.Errorf("after %s: %v", after, err)
		}
	}
	if err := p.check(start.Add(stalledAfter), nil); err == nil || err.Error() != "the server's core hangs: silent for 10s" {
		t.Errorf("after %s: %v", stalledAfter, err)
	}
	close(hangs)
	eventually(t, "it is alive again", func() bool { return p.check(start.Add(time.Hour), func() {}) == nil })
}

func TestADamagedJournalIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	garbage := bytes.Repeat([]byte("garbage!"), 4096)
	if err := os.WriteFile(path, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Journal: path})
	if got, err := r.call("echo", "hello"); err != nil || got != "hello" {
		t.Errorf("%v, %v", got, err)
	}
	if kept, err := os.ReadFile(path + ".aside"); err != nil || !bytes.Equal(kept, garbage) {
		t.Errorf("set aside: %d bytes, %v", len(kept), err)
	}
}

// TestAJournalKeepsItsSize: whoever asks for another is told so.
func TestAJournalKeepsItsSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for _, life := range []struct {
		asked int64
		told  bool
	}{{1 << 20, false}, {1<<20 - 1, false}, {2 << 20, true}, {32 << 10, true}, {0, false}} {
		var log bytes.Buffer
		s := &Server{opts: Options{Journal: path, JournalSize: life.asked, Log: slog.New(slog.NewTextHandler(&log, nil))}}
		if err := s.openJournal(&server.Options{}); err != nil {
			t.Fatal(err)
		}
		if size := s.journal.Size(); size != 1<<20 {
			t.Errorf("asked for %d: it has %d bytes", life.asked, size)
		}
		if told := strings.Contains(log.String(), "size=1048576"); told != life.told {
			t.Errorf("asked for %d: %q", life.asked, log.String())
		}
		if err := s.journal.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestABrokenJournalIsNotReady: what must not run twice is refused, the rest goes on.
func TestABrokenJournalIsNotReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Journal: path, Metrics: m})
	if got, err := r.call("echo", "hello"); err != nil || got != "hello" {
		t.Fatalf("%v, %v", got, err)
	}
	if err := os.Truncate(path, 0); err != nil { // what is mapped is gone
		t.Fatal(err)
	}
	if _, err := r.call("echo", "hello"); !errors.Is(err, rpc.Refused) || !errors.Is(err, rpc.NotExecuted) || !strings.Contains(err.Error(), "journal") {
		t.Errorf("a call that must not run twice: %v", err)
	}
	if got, err := rpc.Call[string](t.Context(), r.client, "echo", "hello", rpc.Idempotent); err != nil || got != "hello" {
		t.Errorf("an idempotent one: %v, %v", got, err)
	}
	if err := r.server.Ready(); err == nil || !strings.Contains(err.Error(), "journal cannot be written") {
		t.Errorf("ready: %v", err)
	}
	if err := r.server.Alive(); err != nil {
		t.Errorf("alive: %v", err)
	}
	want := "# HELP rpcpool_rpc_journal_broken 1 if the journal cannot be written: calls that are not idempotent are refused.\n# TYPE rpcpool_rpc_journal_broken gauge\nrpcpool_rpc_journal_broken 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "rpcpool_rpc_journal_broken"); err != nil {
		t.Error(err)
	}
}

// TestRepliesThatNobodyFetchesDoNotFillTheJournal: the table keeps less than fits.
func TestRepliesThatNobodyFetchesDoNotFillTheJournal(t *testing.T) {
	r := newRig(t, Options{Journal: filepath.Join(t.TempDir(), "journal"), JournalSize: 256 << 10})
	long := strings.Repeat("x", 4<<10)
	for i := range 300 {
		if got, err := r.call("echo", long); err != nil || got != long {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if n := r.server.core.Counts(); n.Bytes > 64<<10 {
		t.Errorf("%d bytes of replies are kept", n.Bytes)
	}
}

// TestAReplyThatIsTooLongToBeKeptArrives: to keep it is for those who ask again.
func TestAReplyThatIsTooLongToBeKeptArrives(t *testing.T) {
	r := newRig(t, Options{Journal: filepath.Join(t.TempDir(), "journal"), JournalSize: 256 << 10})
	long := bytes.Repeat([]byte("long"), 1<<20)
	got, err := rpc.Call[[]byte](t.Context(), r.client, "echo", long)
	if err != nil || !bytes.Equal(got, long) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestACallHasNoMoreTimeThanTheServerGives(t *testing.T) {
	r := newRig(t, Options{MaxTimeout: 100 * time.Millisecond})
	_, err := r.call("sleep", 3600)
	if !errors.Is(err, rpc.DeadlineExceeded) { // mostly Executed: the built-in worker heeds it
		t.Errorf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Metrics: m})
	_, _ = r.call("echo", 1)
	_, _ = r.call("crash", "exit")
	_, _ = r.call("nope", nil)
	unix, err := rpc.Dial(rpc.ClientOptions{}, "unix:"+r.unix)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	if _, err := rpc.Call[any](t.Context(), unix, "echo", 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all workers are back", func() bool {
		s := r.server.pool.Status()
		return s.Ends[crash.Exit] == 1 && s.Starts == 3 && r.server.Ready() == nil && s.States[0] != workers.Starting && s.States[1] != workers.Starting
	})
	want := `
# HELP rpcpool_rpc_calls_total Calls that have ended, and runs that ended in a crash, by method, code, whether they ran, and the way that they came: direct, unix, tcp or grpc.
# TYPE rpcpool_rpc_calls_total counter
rpcpool_rpc_calls_total{code="Crashed",execution="Indeterminate",method="crash",transport="tcp"} 1
rpcpool_rpc_calls_total{code="Crashed",execution="Indeterminate",method="echo",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Crashed",execution="Indeterminate",method="echo",transport="unix"} 0
rpcpool_rpc_calls_total{code="Crashed",execution="Indeterminate",method="other",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Failed",execution="Executed",method="crash",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Failed",execution="Executed",method="echo",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Failed",execution="Executed",method="echo",transport="unix"} 0
rpcpool_rpc_calls_total{code="Failed",execution="Executed",method="other",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Invalid",execution="NotExecuted",method="other",transport="tcp"} 0
rpcpool_rpc_calls_total{code="OK",execution="Executed",method="crash",transport="tcp"} 0
rpcpool_rpc_calls_total{code="OK",execution="Executed",method="echo",transport="tcp"} 1
rpcpool_rpc_calls_total{code="OK",execution="Executed",method="echo",transport="unix"} 1
rpcpool_rpc_calls_total{code="OK",execution="Executed",method="other",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Refused",execution="NotExecuted",method="other",transport="tcp"} 0
rpcpool_rpc_calls_total{code="Unimplemented",execution="NotExecuted",method="other",transport="tcp"} 1
# HELP rpcpool_rpc_sessions Sessions of clients in the table.
# TYPE rpcpool_rpc_sessions gauge
rpcpool_rpc_sessions 2
# HELP rpcpool_rpc_worker_starts_total Workers that were started; each beyond those that are kept is a restart.
# TYPE rpcpool_rpc_worker_starts_total counter
rpcpool_rpc_worker_starts_total 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "rpcpool_rpc_calls_total", "rpcpool_rpc_sessions", "rpcpool_rpc_worker_starts_total"); err != nil {
		t.Error(err)
	}
	for series, want := range map[string]float64{
		`rpcpool_rpc_run_seconds_count{method="echo"}`: 2, `rpcpool_rpc_wait_seconds_count{method="crash"}`: 1,
		`rpcpool_rpc_crash_loop`: 0, `rpcpool_rpc_refusals_total{reason="draining"}`: 0, `rpcpool_rpc_duplicates_total{kind="stale"}`: 0,
		`rpcpool_rpc_abandoned_total`: 0, `rpcpool_rpc_connections_closed_total{reason="silent"}`: 0,
		`rpcpool_rpc_compressed_bytes_total{direction="sent",form="plain"}`: 0,
	} {
		name, _, _ := strings.Cut(series, "{")
		text, err := testutil.CollectAndFormat(m, expfmt.TypeTextPlain, strings.TrimSuffix(name, "_count"))
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("\n%s %v\n", series, want)) {
			t.Errorf("not %s %v, %v", series, want, err)
		}
	}
	for _, name := range []string{"rpcpool_rpc_messages_sent_total", "rpcpool_rpc_message_batches_total"} {
		text, err := testutil.CollectAndFormat(m, expfmt.TypeTextPlain, name)
		if err != nil || !regexp.MustCompile(`\n`+name+` [1-9]`).Match(text) {
			t.Errorf("no %s in %s, %v", name, text, err)
		}
	}
	text, err := testutil.CollectAndFormat(m, expfmt.TypeOpenMetrics, "rpcpool_rpc_run_seconds")
	if err != nil || !regexp.MustCompile(`method="echo",le="\S+"} 2 # {xid="[0-9a-f]{32}/1"} `).Match(text) {
		t.Errorf("no call is an example: %s, %v", text, err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestASocketThatIsLeftBehindIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != unixMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("it was taken from a server that listens")
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = first.Close()
	second, err := listenUnix(path)
	if err != nil {
		t.Fatalf("left behind: %v", err)
	}
	_ = second.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

func TestFlagsThatAreWrongAreNamed(t *testing.T) {
	for arg, want := range map[string]string{
		"--workers=0":         "--workers: 0 is not between 1 and 1024",
		"--concurrency=-1":    "--concurrency: -1 is not between 1 and 1024",
		"--journal-size=1":    "--journal-size: 1 is not between 16384 and 34359738368",
		"--max-timeout=-1s":   "--max-timeout: -1s is negative",
		"--kill-grace=0":      "--kill-grace: 0s is not a positive duration",
		"--start-timeout=0":   "--start-timeout: 0s is not a positive duration",
		"--drain-timeout=-1s": "--drain-timeout: -1s is negative",
		"--listen=foo":        `--listen: address "foo": want HOST:PORT: address foo: missing port in address`,
		"--unix=/no/dir/s":    "--unix: listen on /no/dir/s: listen unix /no/dir/s: bind: no such file or directory",
	} {
		var f Flags
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		f.Register(set)
		if err := set.Parse([]string{"--listen=127.0.0.1:0", arg}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Options(); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
}
