package supervise

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// String says in one line how the worker ended, for people.
func (r Report) String() string {
	var b strings.Builder
	switch {
	case r.Error != "":
		b.WriteString(r.Error)
	case r.Signal != 0:
		fmt.Fprintf(&b, "killed by signal %d (%s)", int(r.Signal), unix.SignalName(r.Signal))
		if r.Core {
			b.WriteString(", core dumped")
		}
	default:
		fmt.Fprintf(&b, "exit status %d", r.Code)
	}
	if line := tellingLine(r.Output); line != "" {
		fmt.Fprintf(&b, ": %s", line)
	}
	return b.String()
}

// tellingLine returns the line of a worker's output that says most about its
// end, cut to a length that fits a log line and an exception packet: the last
// one, unless a Go program's stack traces stand between it and the reason.
func tellingLine(output []byte) string {
	const most = 200
	telling, isReason := "", false
	for line := range strings.Lines(strings.ToValidUTF8(string(output), "?")) {
		line = strings.TrimSpace(line)
		reason := strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
		if line != "" && (reason || !isReason) {
			telling, isReason = line, reason
		}
	}
	return strings.ToValidUTF8(telling[:min(len(telling), most)], "")
}
