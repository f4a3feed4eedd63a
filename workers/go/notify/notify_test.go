//go:build unix

package notify_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/workers/go/notify"
)

// supervisor listens where NOTIFY_SOCKET says.
func supervisor(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", name)
	return c
}

func heard(t *testing.T, c *net.UnixConn, n int) (all []string) {
	t.Helper()
	buf := make([]byte, 1000)
	for range n {
		m, err := c.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		all = append(all, string(buf[:m]))
	}
	return all
}

func TestEveryMessage(t *testing.T) {
	for kind, name := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@rpcpool-test-" + strconv.Itoa(os.Getpid()),
	} {
		t.Run(kind, func(t *testing.T) {
			c := supervisor(t, name)
			n := notify.FromEnv()
			defer n.Close()
			n.Ready()
			n.Beat()
			n.Extend(1500 * time.Millisecond)
			n.Extend(1)
			n.Extend(0)
			n.Extend(-1)
			n.Phase(notify.PhaseLoad)
			n.Phase("")
			want := []string{
				"READY=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=1500000", "EXTEND_TIMEOUT_USEC=1", "EXTEND_TIMEOUT_USEC=0",
				"EXTEND_TIMEOUT_USEC=0", "X_RPCPOOL_PHASE=load", "X_RPCPOOL_PHASE=",
			}
			if diff := cmp.Diff(want, heard(t, c, len(want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	for _, name := range []string{"", "relative", "vsock:2:1"} {
		t.Setenv("NOTIFY_SOCKET", name)
		n := notify.FromEnv()
		if n != nil {
			t.Errorf("NOTIFY_SOCKET=%q made a notifier", name)
		}
		n.Ready()
		n.Beat()
		n.Extend(time.Second)
		n.Phase("run")
		n.Close()
		if n.Interval() != 0 || n.Wants("run") {
			t.Error("nobody wants something")
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "absent"))
	n := notify.FromEnv()
	defer n.Close()
	n.Beat() // fails, and tells nobody
}

func TestWhatIsWanted(t *testing.T) {
	supervisor(t, filepath.Join(t.TempDir(), "notify"))
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"2000000", "", time.Second},
		{"2000000", strconv.Itoa(os.Getpid()), time.Second},
		{"2000000", "1", 0}, // another's
		{"-5", "", 0},
		{"soon", "", 0},
		{"9223372036854775807", "", 365 * 12 * time.Hour},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		n := notify.FromEnv()
		if got := n.Interval(); got != c.want {
			t.Errorf("WATCHDOG_USEC=%s WATCHDOG_PID=%s: a heartbeat every %v, want %v", c.usec, c.pid, got, c.want)
		}
		n.Close()
	}
	t.Setenv("RPCPOOL_PHASES", "load,run")
	n := notify.FromEnv()
	defer n.Close()
	if n.Wants(notify.PhaseUpload) || !n.Wants(notify.PhaseLoad) || !n.Wants(notify.PhaseRun) || n.Wants("") {
		t.Error("RPCPOOL_PHASES=load,run is not what is wanted")
	}
}
