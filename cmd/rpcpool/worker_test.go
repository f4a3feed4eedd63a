package main

import (
	"errors"
	"io"
	"testing"
)

func TestWorkerUsage(t *testing.T) {
	for _, c := range []struct {
		name, session string
		args          []string
	}{
		{"by hand", "", nil},
		{"unknown flavour", "fd", []string{"--flavour", "D"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("RPCPOOL_SESSION", c.session)
			cmd := newWorkerCommand()
			cmd.SetArgs(c.args)
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			if err := cmd.Execute(); !errors.As(err, &usageError{}) {
				t.Errorf("got %v, want a usage error", err)
			}
		})
	}
}
