package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestUsage: by hand there is nobody to serve.
func TestUsage(t *testing.T) {
	t.Setenv("RPCPOOL_SESSION", "")
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, `rpcpool-calls-worker: unexpected argument "serve"`},
		{[]string{"--serve"}, "rpcpool-calls-worker: flag provided but not defined: -serve (see rpcpool-calls-worker --help)"},
		{nil, "rpcpool-calls-worker: no calls: it is the command of a server"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(x.args, &stdout, &stderr); status != exitUsage || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), x.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: status %d, %q", x.args, status, stderr.String())
		}
	}
}

// TestHelpAndVersionGoToStandardOutput, and need no server.
func TestHelpAndVersionGoToStandardOutput(t *testing.T) {
	t.Setenv("RPCPOOL_SESSION", "")
	for arg, want := range map[string]string{"--help": "Examples:", "-h": "--version", "--version": "go1."} {
		var stdout, stderr bytes.Buffer
		if status := run([]string{arg}, &stdout, &stderr); status != exitOK || stderr.Len() > 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: status %d, %q, %q", arg, status, &stdout, &stderr)
		}
	}
}
