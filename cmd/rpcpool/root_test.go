package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// execute runs a command line and returns its status and what it printed.
func execute(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(context.Background(), append([]string{"/usr/bin/rpcpool"}, args...), &out, &errs)
	return status, out.String(), errs.String()
}

// TestUsageErrors: wrong flags, arguments and inputs give status 2 and one
// line on stderr that names what was wrong, and nothing on stdout.
func TestUsageErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("kind: Pod\napiVersion: v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		args []string
		want string
	}{
		"an unknown command":            {[]string{"foo"}, `rpcpool: unknown command "foo" (see 'rpcpool --help')`},
		"a command with a typing error": {[]string{"locla"}, `rpcpool: unknown command "locla"; did you mean "local"? (see 'rpcpool --help')`},
		"an unknown flag":               {[]string{"--foo"}, "rpcpool: unknown flag: --foo (see 'rpcpool --help')"},
		"an unknown flag of a command":  {[]string{"local", "--foo"}, "rpcpool: unknown flag: --foo (see 'rpcpool local --help')"},
		"an unknown short flag":         {[]string{"local", "-x"}, "rpcpool: unknown shorthand flag: 'x' in -x (see 'rpcpool local --help')"},
		"a missing flag":                {[]string{"local"}, `rpcpool: required flag(s) "filename" not set (see 'rpcpool local --help')`},
		"a flag without its value":      {[]string{"local", "-f"}, "rpcpool: flag needs an argument: 'f' in -f (see 'rpcpool local --help')"},
		"an argument too many":          {[]string{"local", "-f", bad, "more"}, `rpcpool: unknown command "more" for "rpcpool local" (see 'rpcpool local --help')`},
		"a wrong log level":             {[]string{"local", "-f", bad, "--log-level", "loud"}, `rpcpool: invalid argument "loud" for "--log-level" flag: want debug, info, warn or error (see 'rpcpool local --help')`},
		"a wrong log format":            {[]string{"--log-format=xml"}, `rpcpool: invalid argument "xml" for "--log-format" flag: want text or json (see 'rpcpool --help')`},
		"a wrong output format":         {[]string{"local", "-f", bad, "-o", "xml"}, `rpcpool: invalid argument "xml" for "-o, --output" flag: want table, json or yaml (see 'rpcpool local --help')`},
		"help for nothing":              {[]string{"help", "foo"}, `rpcpool: unknown command "foo" (see 'rpcpool help --help')`},
		"completion for no shell":       {[]string{"completion", "foo"}, `rpcpool: unknown command "foo" (see 'rpcpool completion --help')`},
		"a manifest that is not there":  {[]string{"local", "-f", bad + "x"}, "rpcpool: open " + bad + "x: no such file or directory"},
		"a negative time":               {[]string{"query", "--timeout=-1s"}, "rpcpool: --timeout: -1s is negative (see 'rpcpool query --help')"},
		"metrics nowhere, tracker":      {[]string{"tracker", "--metrics", "foo"}, `rpcpool: --metrics: address "foo": want HOST:PORT: address foo: missing port in address (see 'rpcpool tracker --help')`},
		"metrics nowhere, local":        {[]string{"local", "-f", bad, "--metrics", "h:x"}, `rpcpool: --metrics: address "h:x": "x" is not a port (0 to 65535) (see 'rpcpool local --help')`},
		"metrics nowhere, serve":        {[]string{"serve", "--key", "k", "--metrics", "h:70000", "--", "w"}, `rpcpool: --metrics: address "h:70000": "70000" is not a port (0 to 65535) (see 'rpcpool serve --help')`},
		"serve for a tracker of text":   {[]string{"serve", "--key", "k", "--tracker", "foo:bar", "--", "w"}, `rpcpool: --tracker: address "foo:bar": "bar" is not a port (1 to 65535)`},
		"serve that tells two lines":    {[]string{"serve", "--key", "k", "--advertise", "a\nb", "--", "w"}, `rpcpool: --advertise: host "a\nb": want a name or an IP address, without port and brackets`},
		"serve with too much warmth":    {[]string{"serve", "--key", "k", "--warm", "300", "--", "w"}, "rpcpool: --warm: 300 is not between 0 and 64"},
		"a manifest of something else": {
			[]string{"local", "-f", bad},
			"rpcpool: " + bad + `: document 1: apiVersion: Invalid value: "v1": must be rpcpool.dev/v1alpha1` + "\n" +
				"rpcpool: " + bad + `: document 1: kind: Invalid value: "Pod": must be RPCPool`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := execute(t, tc.args...)
			if status != exitUsage || stdout != "" || stderr != tc.want+"\n" {
				t.Errorf("status %d, stdout %q, stderr:\n got %s\nwant %s", status, stdout, stderr, tc.want)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"nothing asked":      {nil, "Available Commands:"},
		"help":               {[]string{"help"}, "Available Commands:"},
		"help of a command":  {[]string{"help", "local"}, "rpcpool local -f FILE"},
		"--help":             {[]string{"local", "--help"}, "Examples:"},
		"--version":          {[]string{"--version"}, "rpcpool version "},
		"completion":         {[]string{"completion"}, "bash"},
		"completion of bash": {[]string{"completion", "bash"}, "__rpcpool"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := execute(t, tc.args...)
			if status != exitOK || stderr != "" || !strings.Contains(stdout, tc.want) {
				t.Errorf("status %d, stderr %q, stdout without %q:\n%s", status, stderr, tc.want, stdout)
			}
		})
	}
}

func TestKubectlPluginCallsItselfSo(t *testing.T) {
	var out bytes.Buffer
	if status := run(context.Background(), []string{"/x/kubectl-rpcpool", "--help"}, &out, &out); status != exitOK {
		t.Fatalf("status %d", status)
	}
	if !strings.Contains(out.String(), "kubectl rpcpool [command]") {
		t.Errorf("help of a plugin:\n%s", out.String())
	}
}

// TestEveryCommandIsDocumented: --help says what it is for and shows an example.
func TestEveryCommandIsDocumented(t *testing.T) {
	for _, cmd := range subcommands() {
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" || cmd.RunE == nil {
			t.Errorf("%s: wants Short, Long, Example and RunE", cmd.Name())
		}
	}
}

func TestExitStatusOfErrors(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	cases := map[string]struct {
		ctx    context.Context
		err    error
		status int
		want   string
	}{
		"none":                     {context.Background(), nil, exitOK, ""},
		"a failure":                {context.Background(), errors.New("no device"), exitFailed, "rpcpool: no device\n"},
		"several":                  {context.Background(), errors.Join(errors.New("a"), errors.New("b")), exitFailed, "rpcpool: a\nrpcpool: b\n"},
		"usage":                    {context.Background(), usageErrorf("--trials: %w", errors.New("want 1 or more")), exitUsage, "rpcpool: --trials: want 1 or more\n"},
		"usage, wrapped":           {context.Background(), fmt.Errorf("tune: %w", usageErrorf("no key")), exitUsage, "rpcpool: tune: no key\n"},
		"interrupted by a signal":  {canceled, fmt.Errorf("dial: %w", context.Canceled), exitFailed, "rpcpool: interrupted\n"},
		"canceled without signal":  {context.Background(), context.Canceled, exitFailed, "rpcpool: context canceled\n"},
		"another error on the way": {canceled, errors.New("disk full"), exitFailed, "rpcpool: disk full\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			root := newRootCommand("rpcpool")
			root.AddCommand(&cobra.Command{Use: "test", RunE: func(*cobra.Command, []string) error { return tc.err }})
			var out, errs bytes.Buffer
			if status := execRoot(tc.ctx, root, []string{"test"}, &out, &errs); status != tc.status || errs.String() != tc.want {
				t.Errorf("status %d, stderr %q; want %d, %q", status, errs.String(), tc.status, tc.want)
			}
		})
	}
}

func TestLoggerFollowsTheFlags(t *testing.T) {
	cases := map[string]struct {
		args     []string
		wantOut  []string
		wantNone []string
	}{
		"text at info by default": {nil, []string{"level=INFO msg=hello", "level=WARN"}, []string{"DEBUG", "{"}},
		"JSON":                    {[]string{"--log-format", "JSON"}, []string{`"level":"INFO","msg":"hello"`}, []string{"level=INFO"}},
		"debug":                   {[]string{"--log-level=debug"}, []string{"level=DEBUG", "level=INFO"}, nil},
		"errors only":             {[]string{"--log-level=error"}, []string{"level=ERROR"}, []string{"WARN", "INFO"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			root := newRootCommand("rpcpool")
			root.AddCommand(&cobra.Command{Use: "test", RunE: func(cmd *cobra.Command, _ []string) error {
				log := logger(cmd)
				for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
					log.Log(cmd.Context(), level, "hello")
				}
				return nil
			}})
			var out, errs bytes.Buffer
			if status := execRoot(context.Background(), root, append([]string{"test"}, tc.args...), &out, &errs); status != exitOK {
				t.Fatalf("status %d: %s", status, errs.String())
			}
			for _, want := range tc.wantOut {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("no %q in %q", want, errs.String())
				}
			}
			for _, none := range tc.wantNone {
				if strings.Contains(errs.String(), none) {
					t.Errorf("%q in %q", none, errs.String())
				}
			}
			if out.Len() > 0 {
				t.Errorf("logs on stdout: %q", out.String())
			}
		})
	}
}
