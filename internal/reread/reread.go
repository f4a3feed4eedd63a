// Package reread has what is in files that somebody may change while the process runs, as
// secrets, certificates and rules are: what is in them now or, while they are of no use, what
// was in them last.
//
//	            Get, of use
//	unknown ──────────────────▶ known ─┐ of use: what is in them now
//	  ▲ │ Get, of no use: an error ▲   │ of no use, or not there: what was
//	  └─┘                          └───┘
//
// A look reads the files, and does not only ask when they were changed: a file that is renamed to
// the name of another, or a link that leads elsewhere from now on, as the kubelet's to what a
// Secret has now, may be as old as what was there before. What has been read before is not parsed
// again.
//
// Who writes into a file in place may have a half of it looked at, which counts, if it is of use,
// until the next look; who renames a file to its name does not. Of files that belong together one
// may be new and the other not yet: they are of no use if the parser finds that out.
package reread

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files is what one or more files say together. The zero value is ready; fields are set before it
// is used. It is safe for concurrent use.
type Files[T any] struct {
	Every time.Duration    // files that are known are not looked at more often. Default: whenever they are asked for
	Now   func() time.Time // for Every. Default: time.Now
	Fails func(error)      // is told why files count as they were, once for each reason. Default: nobody is

	mu     sync.Mutex
	known  bool
	value  T
	looked time.Time
	texts  [][]byte // that were read last, nil: none were
	reason error    // why they are of no use
	told   string   // of the last look: why the files were of no use; empty: they were
}

// Get returns what the files say. It fails, and names them, if they were never of use. Parser and
// names are the same each time. The parser has the text of each file; it may keep, and must not
// change them.
func (f *Files[T]) Get(parse func(texts [][]byte) (T, error), names ...string) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.due() {
		return f.value, nil
	}
	err := f.look(parse, names)
	if !f.known {
		return f.value, err
	}
	f.tell(err)
	return f.value, nil
}

// tell tells of an error, unless it is that of the look before.
func (f *Files[T]) tell(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if err != nil && why != f.told && f.Fails != nil {
		f.Fails(err)
	}
	f.told = why
}

func (f *Files[T]) due() bool {
	if f.Every == 0 {
		return true
	}
	now := f.Now
	if now == nil {
		now = time.Now
	}
	at := now()
	if f.known && at.Sub(f.looked) < f.Every {
		return false
	}
	f.looked = at
	return true
}

func (f *Files[T]) look(parse func([][]byte) (T, error), names []string) error {
	texts := make([][]byte, len(names))
	for i, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return err //nolint:wrapcheck // it names the file
		}
		if f.known && !info.Mode().IsRegular() {
			return nil // a pipe, which says it once, and may never end again
		}
		if texts[i], err = os.ReadFile(name); err != nil {
			return err //nolint:wrapcheck // it names the file
		}
	}
	if f.texts != nil && slices.EqualFunc(texts, f.texts, bytes.Equal) {
		return f.reason
	}
	value, err := parse(texts)
	f.texts, f.reason = texts, err
	if err != nil {
		f.reason = fmt.Errorf("%s: %w", strings.Join(names, ", "), err)
		return f.reason
	}
	f.value, f.known = value, true
	return nil
}
