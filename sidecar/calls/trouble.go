package calls

import (
	"errors"
	"strings"
	"time"

	"rpcpool.dev/rpc/workers"
)

const (
	// goodAfter is how long a worker must have served for what was wrong to be over: one
	// that is ready and ends, again and again, serves now and then.
	goodAfter = 10 * time.Second
	// changeAfter is the least time from one text to the next.
	changeAfter = time.Minute
)

// trouble is why no worker serves, as the registry is told. It is for a status that is at
// rest as long as the reason is the same: every worker may say it with another process id,
// time or address. It is pure.
type trouble struct {
	told    string
	at      time.Time // it was told
	serving time.Time // since when a worker serves; zero: none does
}

// next returns what is to be told: text is why the last worker does not serve, empty if
// nothing is known yet.
func (t *trouble) next(now time.Time, serves bool, text string) string {
	if !serves {
		t.serving = time.Time{}
		if text != "" && !alike(text, t.told) && (t.told == "" || now.Sub(t.at) >= changeAfter) {
			t.told, t.at = text, now
		}
		return t.told
	}
	if t.serving.IsZero() {
		t.serving = now
	}
	if now.Sub(t.serving) >= goodAfter {
		t.told = ""
	}
	return t.told
}

// alike tells whether two texts are the same but for words that have a digit. That of the
// ending (status 1, signal 11) counts.
func alike(a, b string) bool {
	ending := func(s string) string { // up to what the worker has said
		parts := strings.SplitN(s, ": ", 3)
		return strings.Join(parts[:min(len(parts), 2)], ": ")
	}
	plain := func(s string) string {
		words := strings.Fields(s)
		for i, w := range words {
			if strings.ContainsAny(w, "0123456789") {
				words[i] = "0"
			}
		}
		return strings.Join(words, " ")
	}
	return ending(a) == ending(b) && plain(a) == plain(b)
}

// whyNot says what workers do that do not serve, for people.
func whyNot(err error) string {
	var e *workers.UnservedError
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return "cannot be started: " + err.Error()
	case e.Err == nil || errors.Is(e.Err, workers.ErrNoWorker):
		return "end before they serve: " + e.Report.Ending()
	default:
		return "do not become ready: " + e.Err.Error()
	}
}
