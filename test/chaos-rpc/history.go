//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/session"
)

// now is the time on the clock that all processes share.
func now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// outcome is what a client was told of a call.
type outcome struct {
	call       string // client.life.worker.number, with letters for what is special about it before that number
	code       session.Code
	execution  session.Execution
	idempotent bool
	asked      time.Duration // when it was made
	until      time.Duration // its deadline; 0: none
	told       time.Duration // when its outcome was
	attempts   int
	whole      bool   // the reply was that of the call
	needs      names  // of the calls whose results it needs
	sum        string // of the reply
	group      string // that it belongs to; "-": none
}

func (o *outcome) String() string {
	return fmt.Sprintf("%s %d %d %t %d %d %d %d %t %s %s %s", o.call, o.code, o.execution, o.idempotent, o.asked, o.until, o.told, o.attempts, o.whole, o.needs, orNone(o.sum), orNone(o.group))
}

// group is calls that belong together: none outlives the wait for them.
type group struct {
	name  string
	calls int
	over  time.Duration // when all were waited for
}

func (g *group) String() string { return fmt.Sprintf("%s %d %d", g.name, g.calls, g.over) }

// names are some calls, in words separated by commas.
type names []string

func (n names) String() string { return orNone(strings.Join(n, ",")) }

func namesOf(s string) names {
	if s == none {
		return nil
	}
	return strings.Split(s, ",")
}

// none is written in place of nothing.
const none = "-"

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// sumOf is a checksum, in letters and digits.
func sumOf(b []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(b)) }

// run is what a server has noted of a run.
type run struct {
	call   string
	server string // number.life
	who    string // session
	at     time.Duration
	left   time.Duration // until its deadline, as its server saw it then; a century: none
	over   time.Duration // 0: it was not noted
	pid    int           // of its process: the server, or a worker of it
	given  []result      // of other calls, in its arguments
}

// result is that of a call, as another was given it.
type result struct{ call, sum string }

// from returns who has made a call: calls of one are of one session at a server, and in
// one lane if lane is true.
func from(call string, lane bool) string {
	parts := strings.Split(call, ".")
	if lane {
		return strings.Join(parts[:3], ".")
	}
	return strings.Join(parts[:2], ".")
}

// whole is what a line ends with: a process that is killed may have written a part of one, as
// far as a page of the file goes.
const whole = " ."

// note appends a line to a file that all share, by one write. The last one may have been cut.
func note(f *os.File, line string) {
	if _, err := f.WriteString("\n" + line + whole + "\n"); err != nil {
		panic(err) // without the truth there is nothing to check
	}
}

func openTruth(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the parent names it
}

// lines calls each with every whole line of a file.
func lines(path string, each func(line string) error) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	scanner := bufio.NewScanner(bytes.NewReader(b))
	for scanner.Scan() {
		line, is := strings.CutSuffix(scanner.Text(), whole)
		if !is { // what was noted so was not done: it is noted before
			continue
		}
		if err := each(line); err != nil {
			return fmt.Errorf("%s: %q: %w", path, line, err)
		}
	}
	return scanner.Err()
}

// readOutcomes reads what clients were told.
func readOutcomes(path string) (all []outcome, err error) {
	err = lines(path, func(line string) error {
		var o outcome
		var needs string
		_, err := fmt.Sscan(line, &o.call, &o.code, &o.execution, &o.idempotent, &o.asked, &o.until, &o.told, &o.attempts, &o.whole, &needs, &o.sum, &o.group)
		o.needs = namesOf(needs)
		all = append(all, o)
		return err
	})
	return all, err
}

// readGroups reads which groups have ended.
func readGroups(path string) (all []group, err error) {
	err = lines(path, func(line string) error {
		var g group
		_, err := fmt.Sscan(line, &g.name, &g.calls, &g.over)
		all = append(all, g)
		return err
	})
	return all, err
}

// readRuns reads the ground truth.
func readRuns(path string) (all []run, err error) {
	place := map[string]int{}
	err = lines(path, func(line string) error {
		var kind, given string
		var r run
		if _, err := fmt.Sscan(line, &kind, &r.call, &r.server, &r.who, &r.at, &r.left, &r.pid, &given); err != nil {
			return err
		}
		for _, g := range namesOf(given) {
			call, sum, _ := strings.Cut(g, ":")
			r.given = append(r.given, result{call, sum})
		}
		key := fmt.Sprint(r.call, " ", r.server, " ", r.pid)
		if kind == "start" {
			place[key] = len(all)
			all = append(all, r)
		} else if i, ok := place[key]; ok {
			all[i].over = r.at
		}
		return nil
	})
	return all, err
}
