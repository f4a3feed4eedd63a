package crash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Report says how a worker ended.
type Report struct {
	Cause  Cause
	Core   bool // the signal left a core dump
	OOM    bool // the kernel has killed for want of memory during its life
	Signal int  // that ended it; 0: none
	Status int  // of its exit; -1 if a signal ended it
	Calls  int  // that ran in it when it ended
	Time   time.Time
	Lived  time.Duration
	User   time.Duration // CPU time
	System time.Duration
	MaxRSS int64 // bytes
	Text   string
	Output []byte // the last of what it wrote to stdout and stderr
	Stack  []byte // the first of a Go program's stacks, if it left any
	PID    int
}

// Bounds of the texts on the wire, in bytes.
const (
	MaxText   = 512
	MaxOutput = 4 << 10
	MaxStack  = 4 << 10
)

const (
	flagCore = 1 << iota
	flagOOM
)

// fixed is what comes before the texts.
const fixed = 4 + 4 + 4 + 4 + 8*5

var errReport = errors.New("malformed report of a worker's end")

// Append appends the report, with texts cut to their bounds.
func (r *Report) Append(b []byte) []byte {
	var flags byte
	if r.Core {
		flags |= flagCore
	}
	if r.OOM {
		flags |= flagOOM
	}
	le := binary.LittleEndian
	b = append(b, r.Cause.number(), flags)
	b = le.AppendUint16(b, uint16(r.Signal))
	b = le.AppendUint32(b, uint32(int32(r.Status)))
	b = le.AppendUint32(b, uint32(r.PID))
	b = le.AppendUint32(b, uint32(r.Calls))
	b = le.AppendUint64(b, uint64(r.Time.UnixNano()))
	for _, n := range []int64{int64(r.Lived), int64(r.User), int64(r.System), r.MaxRSS} {
		b = le.AppendUint64(b, uint64(n))
	}
	text := strings.ToValidUTF8(r.Text, "?")
	for _, t := range [][]byte{
		[]byte(text[:min(len(text), MaxText)]), r.Output[max(len(r.Output)-MaxOutput, 0):], r.Stack[:min(len(r.Stack), MaxStack)],
	} {
		b = append(le.AppendUint16(b, uint16(len(t))), t...)
	}
	return b
}

// Parse reads what Append has made. The texts point into b.
func Parse(b []byte) (r Report, err error) {
	if len(b) < fixed {
		return Report{}, fmt.Errorf("%w: %d bytes", errReport, len(b))
	}
	le := binary.LittleEndian
	r = Report{
		Cause: causeOf(b[0]), Core: b[1]&flagCore != 0, OOM: b[1]&flagOOM != 0,
		Signal: int(le.Uint16(b[2:])), Status: int(int32(le.Uint32(b[4:]))),
		PID: int(le.Uint32(b[8:])), Calls: int(le.Uint32(b[12:])),
		Time: time.Unix(0, int64(le.Uint64(b[16:]))), Lived: time.Duration(le.Uint64(b[24:])),
		User: time.Duration(le.Uint64(b[32:])), System: time.Duration(le.Uint64(b[40:])), MaxRSS: int64(le.Uint64(b[48:])),
	}
	b = b[fixed:]
	var text []byte
	for _, t := range []*[]byte{&text, &r.Output, &r.Stack} {
		if len(b) < 2 || len(b)-2 < int(le.Uint16(b)) {
			return Report{}, fmt.Errorf("%w: a text is cut off", errReport)
		}
		n := 2 + int(le.Uint16(b))
		*t, b = b[2:n:n], b[n:]
	}
	r.Text = string(text)
	return r, nil
}

// String says in one line how the worker ended, for people.
func (r *Report) String() string {
	text := "worker ended: " + string(r.Cause)
	if r.Signal == 0 && r.Status < 0 {
		return text + r.words()
	}
	return text + ", " + r.Ending()
}

// Ending says in one line what the system saw of the end, and what the worker has said
// last: "status 2: usage: …".
func (r *Report) Ending() string {
	if r.Signal != 0 {
		return fmt.Sprintf("signal %d", r.Signal) + r.words()
	}
	return fmt.Sprintf("status %d", r.Status) + r.words()
}

// words are the texts that there are, each after a colon.
func (r *Report) words() (words string) {
	for _, text := range []string{r.Text, telling(r.Output)} {
		if text != "" {
			words += ": " + text
		}
	}
	return words
}

// lastWords is how a Go program begins to say why it ends, a signal that its runtime catches included.
var lastWords = regexp.MustCompile(`(?m)^(panic|fatal error|SIG(ABRT|BUS|FPE|ILL|QUIT|SEGV|SYS|TRAP)): `) //nolint:gochecknoglobals // constant

// telling returns the line of a worker's output that says most about its end: the
// last one, unless a Go program's stacks stand between it and the reason.
func telling(output []byte) string {
	const most = 200
	line, reason := "", false
	for l := range strings.Lines(strings.ToValidUTF8(string(output), "?")) {
		l = strings.TrimSpace(l)
		is := lastWords.MatchString(l)
		if l != "" && (is || !reason) {
			line, reason = l, is
		}
	}
	return strings.ToValidUTF8(line[:min(len(line), most)], "")
}

// StackOf finds the first stack of a Go program's last words in its output; nil if
// there is none.
func StackOf(output []byte) []byte {
	all := lastWords.FindAllIndex(output, -1)
	if len(all) == 0 {
		return nil
	}
	_, rest, found := strings.Cut(string(output[all[len(all)-1][0]:]), "\ngoroutine ")
	if !found {
		return nil
	}
	rest = "goroutine " + rest
	if end := strings.Index(rest, "\n\n"); end >= 0 {
		rest = rest[:end]
	}
	return []byte(rest[:min(len(rest), MaxStack)])
}
