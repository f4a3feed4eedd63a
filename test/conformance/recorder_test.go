//go:build linux

package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a log handler that keeps everything, and hands out the records of
// sessions as they end.
type recorder struct {
	*records
	attrs []slog.Attr
}

type records struct {
	mu    sync.Mutex
	lines []record
	ends  chan end
}

// record is one line of the log.
type record struct {
	at      time.Time
	level   slog.Level
	message string
	attrs   map[string]slog.Value
}

// end is the record of a session that ended.
type end struct {
	session, client, cause, how, worker, limit string
	duration, timeout                          time.Duration
	clamped                                    bool
	maxRSS                                     int64
	at                                         time.Time
}

func newRecorder() *recorder {
	return &recorder{records: &records{ends: make(chan end, 1<<15)}}
}

func (*recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) WithGroup(string) slog.Handler { return r }

func (r *recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &recorder{records: r.records, attrs: append(r.attrs[:len(r.attrs):len(r.attrs)], attrs...)}
}

func (r *recorder) Handle(_ context.Context, in slog.Record) error {
	line := record{at: in.Time, level: in.Level, message: in.Message, attrs: map[string]slog.Value{}}
	for _, a := range r.attrs {
		line.attrs[a.Key] = a.Value
	}
	in.Attrs(func(a slog.Attr) bool {
		line.attrs[a.Key] = a.Value
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	if in.Message == "session ended" {
		r.ends <- line.end()
	}
	return nil
}

func (l record) end() end {
	text := func(name string) string { return l.attrs[name].String() }
	return end{
		session: text("session"), client: text("client"), cause: text("cause"), how: text("how"), worker: text("worker"), limit: text("limit"),
		duration: l.attrs["duration"].Duration(), timeout: l.attrs["timeout"].Duration(),
		clamped: l.attrs["clamped"].Bool(), maxRSS: l.attrs["max_rss_bytes"].Int64(), at: l.at,
	}
}

func (l record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", l.at.Format("05.000"), l.level, l.message)
	for name, value := range l.attrs {
		fmt.Fprintf(&b, " %s=%v", name, value)
	}
	return b.String()
}

// nextEnd waits for the next session to end.
func (r *recorder) nextEnd(t testing.TB) end {
	t.Helper()
	select {
	case e := <-r.ends:
		return e
	case <-time.After(patience):
		t.Fatal("no session ended")
		return end{}
	}
}

// count returns how many lines of at least a level there are.
func (r *recorder) count(level slog.Level) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, l := range r.lines {
		if l.level >= level {
			n++
		}
	}
	return n
}

// dump prints the log of a test that failed.
func (r *recorder) dump(t testing.TB) {
	if !t.Failed() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		t.Log(l)
	}
}
