package sidecar

import (
	"bytes"
	"flag"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

func parseFlags(t *testing.T, args ...string) (Options, error) {
	t.Helper()
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	o, err := f.Options()
	if err == nil {
		t.Cleanup(func() { _ = o.Listener.Close() })
	}
	return o, err
}

func TestFlagsBecomeOptions(t *testing.T) {
	o, err := parseFlags(t, "--key", "rk3588", "--listen", "127.0.0.1:0", "--tracker", "t:9190", "--advertise", "board",
		"--name", "rk-0", "--instance", "5f0c",
		"--flavour", "a", "--warm", "2", "--session-timeout-default", "1m", "--session-timeout-max", "2m", "--kill-grace", "3s",
		"--drain-timeout", "4s", "--file-limit", "5", "--quarantine-failures", "6", "--quarantine-window", "7s", "--handshake-timeout", "8s")
	if err != nil {
		t.Fatal(err)
	}
	if o.Key != "rk3588" || o.Name != "rk-0" || o.Instance != "5f0c" || o.Listener == nil || o.Tracker != "t:9190" || o.Advertise != "board" || o.Flavour != tvm.FlavourA || o.Warm != 2 {
		t.Errorf("options %+v", o)
	}
	got := []time.Duration{o.SessionTimeout.Default, o.SessionTimeout.Max, o.KillGrace, o.DrainTimeout, o.Quarantine.Window, o.HandshakeTimeout}
	want := []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Second, 4 * time.Second, 7 * time.Second, 8 * time.Second}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("duration %d: %s, want %s", i, got[i], want[i])
		}
	}
	if o.Limits.File != 5 || o.Quarantine.Failures != 6 {
		t.Errorf("file limit %d, quarantine after %d", o.Limits.File, o.Quarantine.Failures)
	}
}

// TestBoundsBecomeOptions: isolation, and what bounds a worker in a session.
func TestBoundsBecomeOptions(t *testing.T) {
	type bounds struct {
		Isolation Isolation
		Heartbeat time.Duration
		Budgets   map[supervise.Phase]time.Duration
		Dump      syscall.Signal
		Limits    supervise.Limits
	}
	for name, tc := range map[string]struct {
		args string
		want bounds
	}{
		"by default nothing is bounded": {"", bounds{Isolation: IsolationFork}},
		"zeros mean the same": {
			"--isolation=fork --heartbeat=0 --budget-upload=0 --budget-load=0 --budget-run=0 --kill-dump=none --file-limit=0 --limit-cpu=0 --limit-memory=0 --limit-processes=0 --limit-open-files=0 --limit-work-dir=0",
			bounds{Isolation: IsolationFork},
		},
		"everything": {
			"--isolation=watchdog --heartbeat=5s --budget-upload=10s --budget-load=20s --budget-run=1m --kill-dump=quit --file-limit=5 --limit-cpu=1.5 --limit-memory=512Mi --limit-processes=64 --limit-open-files=256 --limit-work-dir=1Gi",
			bounds{
				Isolation: IsolationWatchdog, Heartbeat: 5 * time.Second, Dump: syscall.SIGQUIT,
				Budgets: map[supervise.Phase]time.Duration{
					supervise.PhaseUpload: 10 * time.Second, supervise.PhaseLoad: 20 * time.Second, supervise.PhaseRun: time.Minute,
				},
				Limits: supervise.Limits{CPU: 1500, Memory: 512 << 20, Processes: 64, OpenFiles: 256, File: 5, WorkDir: 1 << 30},
			},
		},
		"words in capitals, as in manifests": {"--isolation=Watchdog --kill-dump=Abort", bounds{Isolation: IsolationWatchdog, Dump: syscall.SIGABRT}},
		"the shortest heartbeat":             {"--heartbeat=100ms", bounds{Isolation: IsolationFork, Heartbeat: 100 * time.Millisecond}},
		"a budget that no session can reach": {"--budget-run=1h --session-timeout-default=1s --session-timeout-max=2s", bounds{Isolation: IsolationFork, Budgets: map[supervise.Phase]time.Duration{supervise.PhaseRun: time.Hour}}},
		"the least and the most of numbers": {
			"--limit-processes=4194304 --limit-open-files=8 --limit-cpu=1m",
			bounds{Isolation: IsolationFork, Limits: supervise.Limits{CPU: 1, Processes: 4194304, OpenFiles: 8}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseFlags(t, append(strings.Fields(tc.args), "--key=k", "--listen=127.0.0.1:0")...)
			if err != nil {
				t.Fatal(err)
			}
			got := bounds{o.Isolation, o.Heartbeat, o.Budgets, o.Dump, o.Limits}
			if len(got.Budgets) == 0 {
				got.Budgets = nil
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCores(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0.0": 0, "0m": 0, "1": 1000, "2": 2000, "0.5": 500, "0.25": 250, "1.125": 1125, "500m": 500, "1500m": 1500, "007": 7000,
		"100000": 100_000_000, "100000m": 100_000, "100000000m": 100_000_000, "99999.999": 99_999_999,
		"": -1, "m": -1, ".": -1, ".5": -1, "1.": -1, "0.0005": -1, "0.5m": -1, "-1": -1, "-0.5": -1, "+1": -1, "1e3": -1, "0x1": -1, "1_0": -1, " 1": -1, "1 ": -1,
		"2 cores": -1, "1k": -1, "1M": -1, "mm": -1, "1mm": -1, "1.2.3": -1, "NaN": -1, "Inf": -1, "\u0661": -1,
		"100001": -1, "100000.001": -1, "100000001m": -1, "9223372036854775807": -1, "9223372036854775808": -1,
	} {
		got, err := parseCores(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d thousandths of a core, %v; want %d (-1: an error)", text, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0Gi": 0, "1": 1, "4096": 4096, "1Ki": 1 << 10, "512Mi": 512 << 20, "2Gi": 2 << 30, "008": 8,
		"9223372036854775807": 1<<63 - 1, "8589934591Gi": 8589934591 << 30,
		"": -1, "Ki": -1, "Gi": -1, "i": -1, "-1": -1, "-1Gi": -1, "+1": -1, "1.5Gi": -1, "1e9": -1, "0x10": -1, "1_000": -1, " 1": -1, "1 Gi": -1,
		"1G": -1, "1M": -1, "1k": -1, "1K": -1, "1KiB": -1, "1gi": -1, "1KiKi": -1, "1Ti": -1, "all": -1, "\u0661Ki": -1,
		"9223372036854775808": -1, "8589934592Gi": -1, "9007199254740992Ki": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d bytes, %v; want %d (-1: an error)", text, got, err, want)
		}
	}
}

// TestHelp: every flag is there, in alphabetical order, says what its value is,
// and if it may be left out, what happens then.
func TestHelp(t *testing.T) {
	var f Flags
	var help bytes.Buffer
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	set.SetOutput(&help)
	f.Register(set)
	var names []string
	set.VisitAll(func(f *flag.Flag) {
		names = append(names, f.Name)
		value, usage := flag.UnquoteUsage(f)
		none := f.DefValue == "" || f.DefValue == "0" || f.DefValue == "0s" || f.DefValue == "none"
		switch {
		case value == "string" || value == "int" || value == "value":
			t.Errorf("--%s: no name for its value in %q", f.Name, f.Usage)
		case strings.HasSuffix(usage, ".") || strings.Contains(usage, "\n"):
			t.Errorf("--%s: %q: want part of a sentence on one line", f.Name, usage)
		case none && !strings.Contains(usage, "0:") && !strings.Contains(usage, "0 ") && !strings.Contains(usage, "empty:") &&
			!strings.Contains(usage, "none") && !strings.Contains(usage, "required"):
			t.Errorf("--%s: %q does not say what %q means", f.Name, usage, f.DefValue)
		}
	})
	want := []string{
		"advertise", "budget-load", "budget-run", "budget-upload", "drain-timeout", "draining-file", "file-limit", "flavour", "handshake-timeout",
		"heartbeat", "instance", "isolation", "key", "kill-dump", "kill-grace", "limit-cpu", "limit-memory", "limit-open-files", "limit-processes",
		"limit-work-dir", "listen", "name", "quarantine-failures", "quarantine-window", "rdma-count", "rdma-mode", "rdma-network-status", "rdma-resource", "reap-timeout",
		"session-timeout-default",
		"session-timeout-max", "start-timeout", "tracker", "warm",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	set.PrintDefaults()
	var printed []string
	for line := range strings.Lines(help.String()) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			printed = append(printed, strings.Fields(name)[0])
		}
	}
	if !slices.Equal(printed, want) {
		t.Errorf("help lists %q", printed)
	}
	for _, text := range []string{
		"-isolation mode\n", "mode: fork (a worker process for each session) or watchdog", "-kill-dump signal\n", "-limit-cpu cores\n", "0.5, 500m or 2",
		"-limit-memory size\n", "512Mi", "-limit-processes number\n", "-limit-open-files number\n", "-limit-work-dir size\n", "-heartbeat duration\n",
		"time for an upload", "time for the load of a module", "time for a call of a function",
	} {
		if !strings.Contains(help.String(), text) {
			t.Errorf("no %q in the help:\n%s", text, help.String())
		}
	}
}

func TestAWrongFlagIsNamed(t *testing.T) {
	for args, want := range map[string]string{
		"":                                           "--key: ",
		"--key=a_b/c":                                "--key: ",
		"--key=k --flavour=D":                        "--flavour: ",
		"--key=k --listen=nowhere":                   "--listen: ",
		"--key=k --warm=-1":                          "--warm: -1 is not between 0 and 64",
		"--key=k --warm=65":                          "--warm: 65 is not between 0 and 64",
		"--key=k --tracker=foo":                      `--tracker: address "foo": want HOST:PORT`,
		"--key=k --tracker=foo:bar":                  `--tracker: address "foo:bar": "bar" is not a port (1 to 65535)`,
		"--key=k --tracker=foo:0":                    `--tracker: address "foo:0": "0" is not a port (1 to 65535)`,
		"--key=k --tracker=:9190":                    `--tracker: address ":9190": host "" is empty`,
		"--key=k --advertise=a:9090":                 `--advertise: host "a:9090": `,
		"--key=k --advertise=[::1]":                  `--advertise: host "[::1]": `,
		"--key=k --name=a\x00b":                      `--name: "a\x00b" has characters that cannot be printed`,
		"--key=k --instance=\x1b[2J":                 `--instance: "\x1b[2J" has characters that cannot be printed`,
		"--key=k --instance=\xff":                    `--instance: "\xff" is not UTF-8`,
		"--key=k --name=" + strings.Repeat("n", 254): "--name: 254 bytes: want at most 253",
		"--key=k --session-timeout-max=0s":           "--session-timeout-max: 0s is not a positive duration",
		"--key=k --session-timeout-default=-1s":      "--session-timeout-default: -1s is not a positive duration",
		"--key=k --session-timeout-default=2h":       "--session-timeout-default: 2h0m0s is over --session-timeout-max 1h0m0s",
		"--key=k --handshake-timeout=0s":             "--handshake-timeout: ",
		"--key=k --start-timeout=0s":                 "--start-timeout: ",
		"--key=k --kill-grace=0s":                    "--kill-grace: ",
		"--key=k --reap-timeout=0s":                  "--reap-timeout: ",
		"--key=k --quarantine-window=0s":             "--quarantine-window: ",
		"--key=k --quarantine-failures=0":            "--quarantine-failures: ",
		"--key=k --drain-timeout=-1s":                "--drain-timeout: ",
		"--key=k --file-limit=-1":                    "--file-limit: -1 is negative",
		"--key=k --isolation=":                       `--isolation: "": want fork or watchdog`,
		"--key=k --isolation=forks":                  `--isolation: "forks": want fork or watchdog`,
		"--key=k --heartbeat=-1s":                    "--heartbeat: -1s: want 0 (none) or at least 100ms",
		"--key=k --heartbeat=99ms":                   "--heartbeat: 99ms: want 0 (none) or at least 100ms",
		"--key=k --budget-upload=-1s":                "--budget-upload: -1s is negative",
		"--key=k --budget-load=-1ns":                 "--budget-load: -1ns is negative",
		"--key=k --budget-run=-1h":                   "--budget-run: -1h0m0s is negative",
		"--key=k --kill-dump=":                       `--kill-dump: "": want none, quit or abort`,
		"--key=k --kill-dump=SIGQUIT":                `--kill-dump: "SIGQUIT": want none, quit or abort`,
		"--key=k --limit-cpu=":                       `--limit-cpu: "": want cores such as 0.5, 500m or 2, at most 100000`,
		"--key=k --limit-cpu=-1":                     `--limit-cpu: "-1": want cores such as 0.5, 500m or 2, at most 100000`,
		"--key=k --limit-cpu=200000":                 `--limit-cpu: "200000": want cores such as 0.5, 500m or 2, at most 100000`,
		"--key=k --limit-memory=":                    `--limit-memory: "": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--key=k --limit-memory=-1Mi":                `--limit-memory: "-1Mi": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--key=k --limit-memory=1GB":                 `--limit-memory: "1GB": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--key=k --limit-memory=8589934592Gi":        `--limit-memory: "8589934592Gi" is too large`,
		"--key=k --limit-processes=-1":               "--limit-processes: -1 is not between 0 and 4194304",
		"--key=k --limit-processes=4194305":          "--limit-processes: 4194305 is not between 0 and 4194304",
		"--key=k --limit-open-files=-1":              "--limit-open-files: -1: want 0 (no limit) or 8 to 1048576",
		"--key=k --limit-open-files=7":               "--limit-open-files: 7: want 0 (no limit) or 8 to 1048576",
		"--key=k --limit-open-files=1048577":         "--limit-open-files: 1048577: want 0 (no limit) or 8 to 1048576",
		"--key=k --limit-work-dir=-1":                `--limit-work-dir: "-1": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--key=k --limit-work-dir=1.5Gi":             `--limit-work-dir: "1.5Gi": want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi`,
		"--key=k --listen=127.0.0.1:9099-9090":       "--listen: ",
		"--key=k --listen=127.0.0.1:port --warm=0":   "--listen: ",
	} {
		if _, err := parseFlags(t, strings.Fields(args)...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("flags %q: error %v, want one that begins with %q", args, err, want)
		}
	}
}

// TestAWrongHostIsRefused: clients would be told to connect to it.
func TestAWrongHostIsRefused(t *testing.T) {
	for host, ok := range map[string]bool{
		"board": true, "board-1.lab.example.": true, "under_score": true, "10.0.0.7": true, "::1": true, "fe80::1%eth0": true, "b\u00fccher.example": true,
		"a b": false, "a\nb": false, "a\x1b[2J": false, "a\u00a0b": false, "a/b": false, "http://a": false, "a,b": false, "user@a": false, `a"`: false,
		"[::1]": false, "a:9090": false, "fe80::1%a b": false, "\xff": false, strings.Repeat("a", 254): false, "-": false,
	} {
		_, err := parseFlags(t, "--key=k", "--listen=127.0.0.1:0", "--advertise="+host)
		if (err == nil) != ok {
			t.Errorf("--advertise=%q: error %v, want accepted=%t", host, err, ok)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), "--advertise: ") || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("--advertise=%q: error %q: want one printable line that names the flag", host, err)
		}
	}
}
