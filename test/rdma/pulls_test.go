//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerdictsOfGoTests(t *testing.T) {
	const printed = `=== RUN   TestDevicePulls
=== RUN   TestDevicePulls/polling
figure pull 1 MiB, polling: 20.5 MiB/s
    device_test.go:12: --- FAIL: somebody (1.00s)
--- PASS: TestDevicePulls (1.25s)
    --- PASS: TestDevicePulls/polling (1.25s)
--- SKIP: TestDeviceMemlock (0.00s)
--- FAIL: TestDeviceRefuses (0.50s)
    --- FAIL: TestDeviceRefuses/wrong_key (0.50s)
FAIL`
	got, err := verdicts(strings.Split(printed, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []outcome{
		{name: "pull 1 MiB, polling", figure: "20.5 MiB/s"},
		{name: "TestDevicePulls", took: 1250 * time.Millisecond},
		{name: "TestDeviceMemlock", figure: "SKIP", failed: true},
		{name: "TestDeviceRefuses", took: 500 * time.Millisecond, figure: "FAIL", failed: true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Error(diff)
	}
	if got, err := verdicts([]string{"testing: warning: no tests to run", "PASS"}); err == nil {
		t.Errorf("no test has run: %+v", got)
	}
}
