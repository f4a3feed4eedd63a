package crash

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAReportArrivesAsItWasMade(t *testing.T) {
	for name, r := range map[string]Report{
		"a signal": {
			Cause: Signal, Core: true, Signal: 11, Status: -1, Calls: 1, PID: 77, Time: time.Unix(3, 4), Lived: time.Hour,
			User: time.Second, System: time.Millisecond, MaxRSS: 5 << 30, Text: "why", Output: []byte("last words"), Stack: []byte("goroutine 1"),
		},
		"lack of memory": {Cause: OOM, OOM: true, Signal: 9, Status: -1, Time: time.Unix(1, 0), Output: []byte{}, Stack: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := append(r.Append(nil), "of a later version"...)
			got, err := Parse(b)
			if err != nil || !reflect.DeepEqual(got, r) {
				t.Errorf("%+v, %v\nwant %+v", got, err, r)
			}
		})
	}
}

func TestLongWordsAreCut(t *testing.T) {
	r := Report{Cause: Exit, Time: time.Unix(0, 1), Text: strings.Repeat("t", 1<<20), Output: []byte(strings.Repeat("x", 1<<20) + "end"), Stack: make([]byte, 1<<20)}
	b := r.Append(nil)
	if len(b) > fixed+6+MaxText+MaxOutput+MaxStack {
		t.Errorf("%d bytes", len(b))
	}
	got, err := Parse(b)
	if err != nil || !strings.HasSuffix(string(got.Output), "xend") {
		t.Errorf("%v, output ends with %.10q", err, got.Output[max(len(got.Output)-10, 0):])
	}
}

func TestTheStackOfAPanicIsFound(t *testing.T) {
	const stack = "goroutine 7 [running]:\nmain.f()\n\t/x.go:1 +0x1"
	out := []byte("hello\npanic: oh no\n\n" + stack + "\n\ngoroutine 8 [chan receive]:\nmain.g()\n")
	if got := string(StackOf(out)); got != stack {
		t.Errorf("%q", got)
	}
	if got := StackOf([]byte("goroutine tales\nno panic")); got != nil {
		t.Errorf("%q", got)
	}
	r := Report{Cause: Exit, Status: 2, Output: out}
	if got := r.String(); got != "worker ended: crash-exit, status 2: panic: oh no" {
		t.Errorf("%q", got)
	}
}

func TestASignalOfAGoProgramIsFound(t *testing.T) {
	const stack = "goroutine 0 gp=0xc8e5c0 m=0 [idle]:\nmain.f()\n\t/x.go:1 +0x1"
	out := []byte("hello\nSIGSEGV: segmentation violation\nPC=0x48c921 m=0\n\n" + stack + "\n\ngoroutine 8:\nmain.g()\n\nrax    0xca\ngs     0x0\n")
	if got := string(StackOf(out)); got != stack {
		t.Errorf("%q", got)
	}
	r := Report{Cause: Exit, Status: 2, Output: out}
	if got := r.String(); got != "worker ended: crash-exit, status 2: SIGSEGV: segmentation violation" {
		t.Errorf("%q", got)
	}
	r.Output = []byte("SIGNAL: green\nthe end")
	if got := r.String(); got != "worker ended: crash-exit, status 2: the end" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Report{Cause: Exit, Output: []byte("x")}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(r.Append(nil))
		if err != nil || again.Status != r.Status || again.Cause != r.Cause {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
