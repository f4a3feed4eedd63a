//go:build linux

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandLine(t *testing.T) {
	cases := map[string]struct {
		args   []string
		status int
		says   string
	}{
		"nothing":               {nil, exitUsage, "usage: bench"},
		"help":                  {[]string{"help"}, exitOK, "grant"},
		"help lists soak":       {[]string{"help"}, exitOK, "soak"},
		"unknown scenario":      {[]string{"gront"}, exitUsage, `unknown scenario "gront"`},
		"unknown flag":          {[]string{"grant", "-x"}, exitUsage, "-x"},
		"bad value":             {[]string{"soak", "-duration", "soon"}, exitUsage, "duration"},
		"argument left over":    {[]string{"all", "grant"}, exitUsage, `unexpected argument "grant"`},
		"help of a scenario":    {[]string{"idle", "-help"}, exitOK, "-servers"},
		"help of all scenarios": {[]string{"all", "-help"}, exitOK, "-out"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if got := run(context.Background(), tc.args, &out, &out); got != tc.status {
				t.Errorf("exit status %d, want %d", got, tc.status)
			}
			if !strings.Contains(out.String(), tc.says) {
				t.Errorf("says %q, want %q in it", out.String(), tc.says)
			}
		})
	}
}

func TestEveryScenarioIsFoundByItsName(t *testing.T) {
	for _, s := range scenarios() {
		if got := find(s.name()); got == nil || got.name() != s.name() || s.about() == "" {
			t.Errorf("scenario %q is not found, or says nothing about itself", s.name())
		}
	}
	if find("all") != nil {
		t.Error("all is not a scenario")
	}
}
