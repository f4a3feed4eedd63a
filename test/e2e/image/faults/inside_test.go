//go:build linux

package faults

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountsAreThoseOfTheFirstProcess(t *testing.T) {
	node := device(t)
	for text, want := range map[string][]string{
		"22 1 0:21 / / rw - overlay overlay rw\n30 22 8:1 /pods/7/volumes/x /run/rpcpool rw,relatime shared:7 - ext4 /dev/sda1 rw\n": {"/", "/run/rpcpool"},
		"": nil,
	} {
		if err := os.WriteFile(filepath.Join(node.Proc, "812", "mountinfo"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := node.Mounts(container)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	if err := os.WriteFile(filepath.Join(node.Proc, "812", "mountinfo"), []byte("22 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Mounts(container); err == nil || !strings.Contains(err.Error(), `"22 1\n" cannot be understood`) {
		t.Errorf("%v", err)
	}
	if _, err := node.Mounts(another); err == nil {
		t.Error("no list is no error")
	}
}

func TestTheEnvironmentIsThatOfTheFirstProcess(t *testing.T) {
	node := device(t)
	if _, err := node.Environment(container); err == nil || !strings.Contains(err.Error(), container) {
		t.Errorf("it cannot be read: %v", err)
	}
	text := "PATH=/bin\x00EMPTY=\x00JSON={\"a\":\"b=c\"}\x00no variable\x00"
	if err := os.WriteFile(filepath.Join(node.Proc, "812", "environ"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := node.Environment(container)
	if diff := cmp.Diff(map[string]string{"PATH": "/bin", "EMPTY": "", "JSON": `{"a":"b=c"}`}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := node.Environment(another); err == nil {
		t.Error("no container is no error")
	}
}

func TestTheFirstProcessIsOfferedToTheKernel(t *testing.T) {
	node := device(t)
	pid, err := node.Offer(container)
	if err != nil || pid != 812 {
		t.Fatalf("process %d, %v", pid, err)
	}
	all, err := node.Processes(container)
	if err != nil || len(all) < 2 {
		t.Fatalf("%d processes, %v: nothing is shown", len(all), err)
	}
	for _, p := range all {
		want := "0"
		if p.PID == pid {
			want = "1000"
		}
		if got, err := os.ReadFile(filepath.Join(node.Proc, strconv.Itoa(p.PID), "oom_score_adj")); err != nil || string(got) != want {
			t.Errorf("process %d has %q, want %s: %v", p.PID, got, want, err)
		}
	}
	if _, err := node.Offer("no-container"); err == nil {
		t.Error("no container is no error")
	}
}
