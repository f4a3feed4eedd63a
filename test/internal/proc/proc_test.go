//go:build linux

package proc

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	cases := map[string]struct {
		line string
		want Stat
		bad  bool
	}{
		"an ordinary process":              {line: "12 (bench) S 7 12 7 0", want: Stat{12, 7, "bench", 'S'}},
		"a zombie":                         {line: "12 (bench) Z 7 12", want: Stat{12, 7, "bench", 'Z'}},
		"a name with blanks and brackets":  {line: "12 (a) S 1 (b) R 9 1", want: Stat{12, 9, "a) S 1 (b", 'R'}},
		"nothing":                          {bad: true},
		"no name":                          {line: "12 S 7", bad: true},
		"cut after the name":               {line: "12 (bench)", bad: true},
		"a parent that is no number":       {line: "12 (bench) S x", bad: true},
		"a process id that is no number":   {line: "x (bench) S 1", bad: true},
		"closing bracket before the first": {line: "12 )(", bad: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStat([]byte(tc.line))
			if (err != nil) != tc.bad || got != tc.want {
				t.Errorf("ParseStat(%q) = %+v, %v", tc.line, got, err)
			}
		})
	}
}

func TestParseCPUAddsUserAndSystemTime(t *testing.T) {
	got, err := parseCPU([]byte("12 (a) b) S 7 12 12 0 -1 4194304 1 2 3 4 150 50 9 9 20 0"))
	if err != nil || got != 2 {
		t.Errorf("CPU time is %v, %v, want 2 s", got, err)
	}
	for _, bad := range []string{"", "12 (a) S 7 12", "12 (a) S 7 12 12 0 -1 4194304 1 2 3 4 x 50 9 9"} {
		if _, err := parseCPU([]byte(bad)); err == nil {
			t.Errorf("%q has a CPU time", bad)
		}
	}
}

func TestDescendantsAreFoundAtAnyDepth(t *testing.T) {
	all := []Stat{{PID: 5, Parent: 4}, {PID: 2, Parent: 1}, {PID: 4, Parent: 2}, {PID: 3, Parent: 1}, {PID: 9, Parent: 8}}
	var pids []int
	for _, s := range Among(all, 2) {
		pids = append(pids, s.PID)
	}
	if len(pids) != 2 || pids[0] != 4 || pids[1] != 5 {
		t.Errorf("descendants of 2 are %v, want 4 and 5", pids)
	}
}

func TestFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(path, []byte("Name:\tx\nVmRSS:\t  1234 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := FieldKiB(path, "VmRSS:"); err != nil || got != 1234 {
		t.Errorf("VmRSS is %v, %v", got, err)
	}
	if _, err := FieldKiB(path, "VmSwap:"); err == nil {
		t.Error("a missing field is no error")
	}
}

func TestWeSeeOurselves(t *testing.T) {
	self := os.Getpid()
	if rss, err := ResidentBytes(self); err != nil || rss < 1<<20 {
		t.Errorf("our memory is %v, error %v", rss, err)
	}
	before, err := OpenFiles(self)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	after, err := OpenFiles(self)
	if err != nil || len(after) != len(before)+1 || !slices.Contains(after, file.Name()) {
		t.Errorf("descriptors were %q, and after opening one more %q, error %v", before, after, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := Descendants(os.Getppid()); err != nil || !containsPid(found, self) {
		t.Errorf("our parent's descendants are %v (error %v), without us", found, err)
	}
}

func containsPid(all []Stat, pid int) bool {
	for _, s := range all {
		if s.PID == pid {
			return true
		}
	}
	return false
}

func TestAChildThatEndedIsSeenUntilItIsReaped(t *testing.T) {
	child, err := os.StartProcess("/proc/self/exe", []string{"", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for Ended() != child.Pid {
		if time.Now().After(deadline) {
			t.Fatalf("a child that ended is %d, want %d", Ended(), child.Pid)
		}
		time.Sleep(time.Millisecond)
	}
	Reap(child.Pid)
	if pid := Ended(); pid != 0 {
		t.Errorf("after it was reaped there is %d", pid)
	}
	if name := Argument0(os.Getpid()); name == "" {
		t.Error("we have no name")
	}
}
