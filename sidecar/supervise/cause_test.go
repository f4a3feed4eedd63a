package supervise

import (
	"strings"
	"syscall"
	"testing"
)

func TestClassify(t *testing.T) {
	cases := map[string]struct {
		killed Cause
		served bool
		exit   Exit
		want   Cause
	}{
		"exit 0 after a session is an orderly end":                {"", true, Exit{}, CauseCompleted},
		"exit 7 in a session is a crash":                          {"", true, Exit{Code: 7}, CauseCrashExit},
		"exit 76 says that the client broke the protocol":         {"", true, Exit{Code: ExitProtocol}, CauseProtocolError},
		"a signal in a session is a crash":                        {"", true, Exit{Code: -1, Signal: syscall.SIGSEGV}, CauseCrashSignal},
		"SIGKILL from nobody here is a crash":                     {"", true, Exit{Code: -1, Signal: syscall.SIGKILL}, CauseCrashSignal},
		"SIGKILL while the kernel counted an OOM kill is OOM":     {"", true, Exit{Code: -1, Signal: syscall.SIGKILL, OOM: true}, CauseOOM},
		"another signal while it counted one is not":              {"", true, Exit{Code: -1, Signal: syscall.SIGABRT, OOM: true}, CauseCrashSignal},
		"our kill is named by our reason":                         {CauseTimeout, true, Exit{Code: -1, Signal: syscall.SIGKILL}, CauseTimeout},
		"our kill is, even if the worker then left with status 0": {CauseTimeout, true, Exit{}, CauseTimeout},
		"our kill is, even if memory ran out meanwhile":           {CauseClientGone, true, Exit{Signal: syscall.SIGKILL, OOM: true}, CauseClientGone},
		"exit 0 before any session is a failed start":             {"", false, Exit{}, CauseStartFailed},
		"a crash before any session is a failed start":            {"", false, Exit{Code: -1, Signal: syscall.SIGSEGV}, CauseStartFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Classify(tc.killed, tc.served, tc.exit); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestClassifyOnlyReturnsKnownCauses(t *testing.T) {
	known := map[Cause]bool{}
	for _, c := range Causes() {
		known[c] = true
	}
	if len(known) != 10 {
		t.Fatalf("%d causes, want 10 different ones", len(known))
	}
	for _, killed := range append(Causes(), "") {
		for code := -1; code < 256; code++ {
			for _, signal := range []syscall.Signal{0, syscall.SIGKILL, syscall.SIGSEGV} {
				for bits := range 4 {
					e := Exit{Code: code, Signal: signal, OOM: bits&1 != 0}
					if c := Classify(killed, bits&2 != 0, e); !known[c] {
						t.Fatalf("Classify(%q, %v, %+v) = %q: not a cause", killed, bits&2 != 0, e, c)
					}
				}
			}
		}
	}
}

func TestReportString(t *testing.T) {
	cases := map[string]struct {
		report Report
		want   string
	}{
		"an exit status":                    {Report{Code: 3}, "exit status 3"},
		"a signal has its name":             {Report{Code: -1, Signal: syscall.SIGSEGV}, "killed by signal 11 (SIGSEGV)"},
		"an error of starting":              {Report{Code: -1, Error: "no such file"}, "no such file"},
		"the last line that says something": {Report{Code: 1, Output: []byte("one\ntwo: bad shape\n \n")}, "exit status 1: two: bad shape"},
		"output that is not text":           {Report{Code: 1, Output: []byte{0xff, 'x'}}, "exit status 1: ?x"},
		"a very long line is cut":           {Report{Code: 1, Output: []byte(strings.Repeat("a", 5000))}, "exit status 1: " + strings.Repeat("a", 200)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.report.String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
