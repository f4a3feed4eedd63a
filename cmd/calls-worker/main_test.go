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
		{nil, "rpcpool-calls-worker: no calls: it is the command of a server"},
	} {
		var stderr bytes.Buffer
		if status := run(x.args, &stderr); status != exitUsage || !strings.HasPrefix(stderr.String(), x.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: status %d, %q", x.args, status, stderr.String())
		}
	}
}
