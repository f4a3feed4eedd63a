package sidecar

import (
	"flag"
	"strings"
	"testing"
	"time"

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
		"--flavour", "a", "--warm", "2", "--session-timeout-default", "1m", "--session-timeout-max", "2m", "--kill-grace", "3s",
		"--drain-timeout", "4s", "--file-limit", "5", "--quarantine-failures", "6", "--quarantine-window", "7s", "--handshake-timeout", "8s")
	if err != nil {
		t.Fatal(err)
	}
	if o.Key != "rk3588" || o.Listener == nil || o.Tracker != "t:9190" || o.Advertise != "board" || o.Flavour != tvm.FlavourA || o.Warm != 2 {
		t.Errorf("options %+v", o)
	}
	got := []time.Duration{o.SessionTimeout.Default, o.SessionTimeout.Max, o.KillGrace, o.DrainTimeout, o.Quarantine.Window, o.HandshakeTimeout}
	want := []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Second, 4 * time.Second, 7 * time.Second, 8 * time.Second}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("duration %d: %s, want %s", i, got[i], want[i])
		}
	}
	if o.FileLimit != 5 || o.Quarantine.Failures != 6 {
		t.Errorf("file limit %d, quarantine after %d", o.FileLimit, o.Quarantine.Failures)
	}
}

func TestAWrongFlagIsNamed(t *testing.T) {
	for args, want := range map[string]string{
		"":                                         "--key: ",
		"--key=a_b/c":                              "--key: ",
		"--key=k --flavour=D":                      "--flavour: ",
		"--key=k --listen=nowhere":                 "--listen: ",
		"--key=k --warm=-1":                        "--warm: -1 is not between 0 and 64",
		"--key=k --warm=65":                        "--warm: 65 is not between 0 and 64",
		"--key=k --tracker=foo":                    `--tracker: address "foo": want HOST:PORT`,
		"--key=k --tracker=foo:bar":                `--tracker: address "foo:bar": "bar" is not a port (1 to 65535)`,
		"--key=k --tracker=foo:0":                  `--tracker: address "foo:0": "0" is not a port (1 to 65535)`,
		"--key=k --tracker=:9190":                  `--tracker: address ":9190": host "" is empty`,
		"--key=k --advertise=a:9090":               `--advertise: host "a:9090": `,
		"--key=k --advertise=[::1]":                `--advertise: host "[::1]": `,
		"--key=k --session-timeout-max=0s":         "--session-timeout-max: 0s is not a positive duration",
		"--key=k --session-timeout-default=-1s":    "--session-timeout-default: -1s is not a positive duration",
		"--key=k --session-timeout-default=2h":     "--session-timeout-default: 2h0m0s is over --session-timeout-max 1h0m0s",
		"--key=k --handshake-timeout=0s":           "--handshake-timeout: ",
		"--key=k --start-timeout=0s":               "--start-timeout: ",
		"--key=k --kill-grace=0s":                  "--kill-grace: ",
		"--key=k --reap-timeout=0s":                "--reap-timeout: ",
		"--key=k --quarantine-window=0s":           "--quarantine-window: ",
		"--key=k --quarantine-failures=0":          "--quarantine-failures: ",
		"--key=k --drain-timeout=-1s":              "--drain-timeout: ",
		"--key=k --file-limit=-1":                  "--file-limit: ",
		"--key=k --listen=127.0.0.1:9099-9090":     "--listen: ",
		"--key=k --listen=127.0.0.1:port --warm=0": "--listen: ",
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
