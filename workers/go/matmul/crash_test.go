package matmul

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// crashSize is a problem on which tiles of 128 do not fit the scratchpad.
const crashSize = 128

// runForTest is the body of the re-executed test binary; it returns the exit
// status, if it returns.
func runForTest(text string) int {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	a, b := Inputs(crashSize)
	r, err := Run(cfg, crashSize, a, b, make([]float32, crashSize*crashSize), 0)
	if err != nil || !Same(r.Checksum, Checksum(Reference(crashSize), crashSize)) {
		fmt.Fprintln(os.Stderr, "wrong result or error:", err)
		return 4
	}
	// After the kernel a fault is Go's affair again: it can be recovered.
	if !faultIsRecovered() {
		return 5
	}
	return 0
}

func faultIsRecovered() (recovered bool) {
	defer func() { recovered = recover() != nil }()
	var c *Config
	return c.Unroll == 0
}

// runElsewhere runs cfg in a process of its own and returns how that ended.
func runElsewhere(t *testing.T, cfg Config) (syscall.WaitStatus, string) {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), runConfig+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.Sys().(syscall.WaitStatus), stderr.String()
}

func TestTilesThatDoNotFitKillTheProcess(t *testing.T) {
	fits := ScratchpadBytes / floatBytes / crashSize // tm+tn, with tk = crashSize
	cases := []struct {
		name  string
		cfg   Config
		crash bool
	}{
		{"both tiles fill the scratchpad to the last byte",
			Config{TileM: fits - 16, TileN: 16, TileK: crashSize, Order: "ijk", Unroll: 4, Pack: true}, false},
		{"one row too many in the second tile",
			Config{TileM: fits - 16, TileN: 17, TileK: crashSize, Order: "ijk", Unroll: 4, Pack: true}, true},
		{"the first tile alone is too large",
			Config{TileM: 128, TileN: 1, TileK: 128, Order: "kji", Unroll: 1, Pack: true}, true},
		{"as large, but not packed",
			Config{TileM: 128, TileN: 128, TileK: 128, Order: "kji", Unroll: 1}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			status, stderr := runElsewhere(t, tc.cfg)
			switch {
			case !tc.crash:
				if status.ExitStatus() != 0 {
					t.Fatalf("status %#x: %s", status, stderr)
				}
			case runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"):
				if !status.Signaled() || status.Signal() != syscall.SIGSEGV {
					t.Fatalf("status %#x, want death by SIGSEGV: %s", status, stderr)
				}
				if strings.Contains(stderr, "goroutine") {
					t.Errorf("a native kernel leaves no Go traceback: %s", stderr)
				}
			default:
				if status.ExitStatus() == 0 {
					t.Fatal("the process survived")
				}
			}
		})
	}
}
