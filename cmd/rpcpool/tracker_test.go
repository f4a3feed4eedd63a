package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// runTracking runs a command line of tracker or query.
func runTracking(ctx context.Context, stdout, stderr io.Writer, args ...string) int {
	root := &cobra.Command{Use: "rpcpool", SilenceErrors: true, SilenceUsage: true}
	addLogFlags(root)
	root.AddCommand(newTrackerCommand(), newQueryCommand())
	return execRoot(ctx, root, args, stdout, stderr)
}

// startTracker runs `rpcpool tracker` until the test ends. stop asks it to end
// and returns its exit status.
func startTracker(t *testing.T, args ...string) (addr string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	read, write := io.Pipe()
	var stderr bytes.Buffer
	status := make(chan int, 1)
	go func() {
		status <- runTracking(ctx, write, &stderr, append([]string{"tracker", "--listen", "127.0.0.1:0"}, args...)...)
		_ = write.Close()
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		cancel()
		<-status
		t.Fatalf("no address: %v; stderr: %s", err, stderr.String())
	}
	ended := false
	stop = func() (s int) {
		if !ended {
			ended = true
			cancel()
			s = <-status
		}
		return s
	}
	t.Cleanup(func() { stop() })
	return strings.TrimSuffix(strings.TrimPrefix(line, "listening on "), "\n"), stop
}

func dialTracker(t *testing.T, addr string) *tracker.Client {
	t.Helper()
	c, err := tracker.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// populate registers a free and a granted server, and makes a client wait.
func populate(t *testing.T, addr string) (taker net.Addr) {
	t.Helper()
	ctx := t.Context()
	for port, key := range map[int]string{9090: "rasp", 9091: "gpu"} {
		c := dialTracker(t, addr)
		if err := c.UpdateInfo(ctx, tvm.NewUpdateInfo(key, "10.0.0.7", port)); err != nil {
			t.Fatal(err)
		}
		if err := c.Put(ctx, tvm.Put{Key: key, Port: tvm.PortNumber(port), MatchKey: key + ":0.5"}); err != nil {
			t.Fatal(err)
		}
	}
	c := dialTracker(t, addr)
	if _, err := c.Request(ctx, "gpu", 1); err != nil {
		t.Fatal(err)
	}
	waits := dialTracker(t, addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = waits.Request(context.Background(), "gpu", 2.5) // until the test ends
	}()
	t.Cleanup(func() {
		_ = waits.Close()
		<-done
	})
	deadline := time.Now().Add(patience)
	for {
		s, err := c.Summary(ctx)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("nobody waits: %v", err)
		}
		if s.Queue["gpu"].Pending == 1 {
			return c.LocalAddr()
		}
		time.Sleep(time.Millisecond)
	}
}

func TestQueryPrintsStockTablesAndOurs(t *testing.T) {
	addr, _ := startTracker(t)
	taker := populate(t, addr)
	var out, errs bytes.Buffer
	if status := runTracking(t.Context(), &out, &errs, "query", "--tracker", addr); status != exitOK || errs.Len() > 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	const stock = `Server List
------------------------------
server-address           key
------------------------------
10.0.0.7:9091            server:gpu
10.0.0.7:9090            server:rasp
------------------------------

Queue Status
----------------------------
key    total  free  pending
----------------------------
gpu    1      0     1      
rasp   1      1     0      
----------------------------
`
	got := out.String()
	if !strings.HasPrefix(got, stock+"\n") {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got, stock)
	}
	ours := regexp.MustCompile(`^\nKEY    ADDRESS         STATE     FOR +CLIENT\n` +
		`gpu    10\.0\.0\.7:9091   granted   \S+ +` + regexp.QuoteMeta(taker.String()) + `\n` +
		`rasp   10\.0\.0\.7:9090   free      \S+ +\n` +
		`\nWAITING FOR   CLIENT +PRIORITY   FOR +USER\n` +
		`gpu           127\.0\.0\.1:\d+   2\.5        \S+ +\n$`)
	if rest := strings.TrimPrefix(got, stock); !ours.MatchString(rest) {
		t.Errorf("our tables:\n%s\nwant them to match\n%s", rest, ours)
	}
}

func TestQueryPrintsData(t *testing.T) {
	addr, _ := startTracker(t)
	populate(t, addr)
	for format, parse := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(b []byte, v any) error { return yaml.Unmarshal(b, v) },
	} {
		var out, errs bytes.Buffer
		if status := runTracking(t.Context(), &out, &errs, "query", "--tracker", addr, "-o", format); status != exitOK {
			t.Fatalf("status %d: %s", status, errs.String())
		}
		var s tvm.SummaryReply
		if err := parse(out.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if len(s.Servers) != 2 || s.Servers[1].State() != "free" || s.Queue["gpu"].Waiting[0].Priority != 2.5 {
			t.Errorf("-o %s gives %+v", format, s)
		}
	}
}

func TestQueryOfAnEmptyTrackerByTheEnvironment(t *testing.T) {
	addr, _ := startTracker(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envTrackerHost, host)
	t.Setenv(envTrackerPort, port)
	var out, errs bytes.Buffer
	if status := runTracking(t.Context(), &out, &errs, "query"); status != exitOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	if !strings.HasSuffix(out.String(), "\nNo servers are registered.\n") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestSummaryTables(t *testing.T) {
	var out bytes.Buffer
	s := tvm.SummaryReply{
		Queue: map[string]tvm.QueueInfo{"k": {Pending: 103, Waiting: []tvm.Waiting{
			{Client: "10.0.0.9:1", User: "\x1b[2Jme", Priority: -1, AgeS: 75.4}, {Client: "10.0.0.9:2", AgeS: 12.34}, {Client: "10.0.0.9:3", AgeS: 0.0625},
		}}},
		Servers: []tvm.ServerInfo{
			{Info: map[string]json.RawMessage{"key": json.RawMessage(`"server:stock"`), "addr": json.RawMessage(`["h", "1"]`)}},
			{Info: map[string]json.RawMessage{
				"key": json.RawMessage(`"server:k"`), "addr": json.RawMessage(`["::1", 2]`), "state": json.RawMessage(`"busy"`), "age_s": json.RawMessage(`3725.9`),
				"session": json.RawMessage(`{"id": "s", "client": "10.0.0.9:4"}`),
			}},
			{Info: map[string]json.RawMessage{
				"key": json.RawMessage(`"server:k"`), "addr": json.RawMessage(`["h", 3]`), "state": json.RawMessage(`"quarantined"`), "age_s": json.RawMessage(`1`),
				"reason": json.RawMessage(`"quarantined: exit status 2:\u001b[2J no worker.py"`),
			}},
		},
	}
	if err := writeSummary(&out, s); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "KEY ")
	const want = `    ADDRESS   STATE         FOR      CLIENT
k       [::1]:2   busy          1h2m6s   10.0.0.9:4
k       h:3       quarantined   1s       
stock   h:1       unknown       -        

NOT OFFERED   WHY
h:3           "quarantined: exit status 2:\x1b[2J no worker.py"

WAITING FOR   CLIENT       PRIORITY   FOR     USER
k             10.0.0.9:1   -1         1m15s   "\x1b[2Jme"
k             10.0.0.9:2   0          12.3s   
k             10.0.0.9:3   0          60ms    

100 more requests wait.
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What peers say must not reach the terminal as more than text.
func TestSummaryTablesOfHostilePeers(t *testing.T) {
	raw := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	server := func(key string, addr ...any) tvm.ServerInfo {
		return tvm.ServerInfo{Info: map[string]json.RawMessage{"key": raw(key), "addr": raw(addr)}}
	}
	s := tvm.SummaryReply{
		Queue: map[string]tvm.QueueInfo{
			"\x1b[31mred": {Free: 1}, "a\nb": {Free: 1, Pending: 1}, `a\nb`: {Pending: 2}, "größe": {Free: 1},
		},
		Servers: []tvm.ServerInfo{
			server("server:\x1b[31mred", "1.2.3.4\x1b[2J", 9090),
			server("server:größe", "h", "1"),
			server("server:x\nforged   9  9  9", "\u202eh", "\u009b1"),
			{Info: map[string]json.RawMessage{"key": raw("server:y"), "addr": json.RawMessage("[[\"\u009b\", \n1], null]")}},
			{Info: map[string]json.RawMessage{"key": raw("server:z"), "addr": json.RawMessage(`["<h>", {"p":  1}]`)}},
		},
	}
	var out bytes.Buffer
	if err := writeSummary(&out, s); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		for _, r := range line {
			if !strconv.IsPrint(r) {
				t.Errorf("%q has %q", line, r)
			}
		}
	}
	stock, _, _ := strings.Cut(out.String(), "KEY ")
	const want = `Server List
------------------------------
server-address           key
------------------------------
1.2.3.4\x1b[2J:9090      server:\x1b[31mred
h:1                      server:größe
\u202eh:\u009b1          server:x\nforged   9  9  9
["\u009b", \n1]:None     server:y
<h>:{"p":  1}            server:z
------------------------------

Queue Status
-----------------------------------
key           total  free  pending
-----------------------------------
`
	if !strings.HasPrefix(stock, want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", stock, want)
	}
	for _, row := range []string{`\x1b\[31mred +1 +1 +0 *`, `a\nb +0 +1 +3 *`, `größe +1 +1 +0 *`} {
		row = strings.NewReplacer(`\x1b`, `\\x1b`, `\n`, `\\n`).Replace(row)
		if !regexp.MustCompile(`(?m)^` + row + `$`).MatchString(stock) {
			t.Errorf("got\n%s\nwant a row %s", stock, row)
		}
	}
}

func TestTrackerStopsByTheStopKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, stop := startTracker(t, "--stop-key-file", file, "--fair-share", "--max-connections", "10", "--log-level", "error")
	if err := dialTracker(t, addr).Stop(t.Context(), "secret"); err != nil {
		t.Fatal(err)
	}
	if status := stop(); status != exitOK {
		t.Errorf("status %d, want %d", status, exitOK)
	}
}

func TestTrackerServesMetricsAndEndsInOrder(t *testing.T) {
	port := freePorts(t, 1)
	metrics := fmt.Sprintf("127.0.0.1:%d", port)
	addr, stop := startTracker(t, "--metrics", metrics, "--log-level", "error")
	deadline := time.Now().Add(patience)
	for status("http://"+metrics+"/readyz") != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("/readyz is not 200")
		}
		time.Sleep(10 * time.Millisecond)
	}
	dialTracker(t, addr)
	res, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	for _, want := range []string{"rpcpool_tracker_connections 1", `rpcpool_registry_nodes{state="alive"} 0`, "rpcpool_registry_settling 1"} {
		if err != nil || !strings.Contains(string(body), "\n"+want+"\n") {
			t.Errorf("metrics (%v) lack %s:\n%s", err, want, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if status := stop(); status != exitOK {
		t.Errorf("status %d, want %d", status, exitOK)
	}
}

func TestATrackersPortIsARegistryToo(t *testing.T) {
	addr, stop := startTracker(t, "--first")
	if err := dialTracker(t, addr).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	joinAndLeave(t, addr)
	if status := stop(); status != exitOK {
		t.Errorf("status %d", status)
	}
}

// joinAndLeave is a node that is the first at a tracker's registry.
func joinAndLeave(t *testing.T, addr string) {
	t.Helper()
	c, err := naming.Dial(rpc.ClientOptions{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n, err := naming.Join(t.Context(), c, naming.NodeOptions{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if claim, err := n.Ready(t.Context()); claim.Rank != 0 || claim.Epoch>>32 == 0 || err != nil {
		t.Errorf("%+v, %v", claim, err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestTrackingFailsInOneLine(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	for name, tc := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"nobody listens":           {[]string{"query", "--tracker", closed}, exitFailed, "tracker " + closed + ": dial tcp " + closed + ": connect: connection refused"},
		"a tracker without port":   {[]string{"query", "--tracker", "host"}, exitUsage, `--tracker: address "host": want HOST:PORT`},
		"a tracker's port is text": {[]string{"query", "--tracker", "host:http"}, exitUsage, `--tracker: address "host:http": "http" is not a port`},
		"an output that is none":   {[]string{"query", "-o", "xml"}, exitUsage, "want table, json or yaml"},
		"an argument too many":     {[]string{"query", "now"}, exitUsage, `unknown command "now"`},
		"a listener without port":  {[]string{"tracker", "--listen", "host"}, exitUsage, `--listen: address "host": want HOST:PORT`},
		"a port beyond all":        {[]string{"tracker", "--listen", ":70000"}, exitUsage, `"70000" is not a port`},
		"a range upside down":      {[]string{"tracker", "--listen", ":9199-9190"}, exitUsage, `"9199-9190" is not a range of ports`},
		"a port in use":            {[]string{"tracker", "--listen", busy.Addr().String()}, exitFailed, "address already in use"},
		"metrics' port in use":     {[]string{"tracker", "--listen", "127.0.0.1:0", "--log-level", "error", "--metrics", busy.Addr().String()}, exitFailed, "address already in use"},
		"no connections":           {[]string{"tracker", "--max-connections", "0"}, exitUsage, "--max-connections: 0 is not positive"},
		"no file of the stop key":  {[]string{"tracker", "--stop-key-file", empty + "x"}, exitUsage, "no such file"},
		"an empty stop key":        {[]string{"tracker", "--stop-key-file", empty}, exitUsage, "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := runTracking(t.Context(), &out, &errs, tc.args...)
			if text := errs.String(); status != tc.status || !strings.Contains(text, tc.want) || strings.Count(text, "\n") != 1 {
				t.Errorf("status %d, want %d; stderr %q, want one line with %q", status, tc.status, text, tc.want)
			}
		})
	}
}

func TestTheTrackersAddressComesFromTheFlagOrTheEnvironment(t *testing.T) {
	for name, tc := range map[string]struct{ flag, host, port, want string }{
		"the flag wins":                       {"a:1", "b", "2", "a:1"},
		"the environment of stock tools":      {"", "b", "2", "b:2"},
		"its defaults":                        {"", "", "", "127.0.0.1:9190"},
		"an IPv6 address":                     {"", "::1", "2", "[::1]:2"},
		"an IPv6 address written as in a URL": {"", "[::1]", "2", "[::1]:2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envTrackerHost, tc.host)
			t.Setenv(envTrackerPort, tc.port)
			if got, err := trackerAddr(tc.flag); err != nil || got != tc.want {
				t.Errorf("trackerAddr(%q) = %q, %v; want %q", tc.flag, got, err, tc.want)
			}
		})
	}
}
