package reread

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// at is when all files of the tests were changed: nobody can tell by their times.
var at = time.Unix(1, 0)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// words is a parser of files that all end in a dot, and begin with the same letter.
func words(texts [][]byte) (string, error) {
	for _, text := range texts {
		if !bytes.HasSuffix(text, []byte(".")) {
			return "", errors.New("there is no end")
		}
		if text[0] != texts[0][0] {
			return "", errors.New("they do not belong together")
		}
	}
	return string(bytes.Join(texts, []byte(" "))), nil
}

func TestFilesCountAsTheyAreNowOrWereLast(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	write(t, one, "a.")
	write(t, two, "ab.")
	var f Files[string]
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"as they are", func() {}, "a. ab."},
		{"another text of the same length", func() { write(t, two, "ac.") }, "a. ac."},
		{"another file of this name", func() { write(t, two+"'", "ad."); rename(t, two+"'", two) }, "a. ad."},
		{"one that is not there: as before", func() { rename(t, one, one+"'") }, "a. ad."},
		{"that is there again", func() { rename(t, one+"'", one) }, "a. ad."},
		{"one that is empty: as before", func() { write(t, one, "") }, "a. ad."},
		{"a half of one: as before", func() { write(t, one, "aa") }, "a. ad."},
		{"all of it", func() { write(t, one, "aa.") }, "aa. ad."},
		{"one of two new ones: as before", func() { write(t, one, "b.") }, "aa. ad."},
		{"both", func() { write(t, two, "bb.") }, "b. bb."},
		{"what was of no use, and what was before it", func() { write(t, one, "b"); _, _ = f.Get(words, one, two); write(t, one, "b.") }, "b. bb."},
		{"a directory: as before", func() {
			rename(t, one, one+"'")
			if err := os.Mkdir(one, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "b. bb."},
	} {
		step.change()
		if got, err := f.Get(words, one, two); got != step.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", step.name, got, err, step.want)
		}
	}
}

// TestALinkThatLeadsElsewhere is how the kubelet replaces what is in the volume of a Secret: the
// names stay links to ..data/NAME, and ..data is a link that is renamed to. What it led to is gone then.
func TestALinkThatLeadsElsewhere(t *testing.T) {
	dir := t.TempDir()
	lead := func(version string) {
		t.Helper()
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	}
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "token"), text)
	}
	token := filepath.Join(dir, "token")
	if err := os.Symlink("..data/token", token); err != nil {
		t.Fatal(err)
	}
	var f Files[string]
	check := func(when, want string) {
		t.Helper()
		if got, err := f.Get(words, token); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", when, got, err, want)
		}
	}
	version("..1", "one.")
	lead("..1")
	check("at first", "one.")
	version("..2", "two.")
	check("a new one that nothing leads to", "one.")
	lead("..2")
	check("the link leads to it", "two.")
	if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
		t.Fatal(err)
	}
	check("without the old one", "two.")
	lead("..3")
	check("the link leads nowhere", "two.")
	version("..3", "six.")
	check("what it leads to is there", "six.")
}

func TestFilesThatWereNeverOfUseAreLookedAtEachTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := Files[string]{Every: time.Hour}
	fails := func(want string) {
		t.Helper()
		for range 2 {
			if got, err := f.Get(words, path); err == nil || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, %v, want %q of %s", got, err, want, path)
			}
		}
	}
	fails("no such file or directory")
	write(t, path, "")
	fails(": there is no end")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fails("no such file or directory")
	write(t, path, "a.")
	if got, err := f.Get(words, path); got != "a." || err != nil {
		t.Errorf("got %q, %v of a file that is of use now", got, err)
	}
}

func TestWhyFilesCountAsTheyWereIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var told []string
	f := Files[string]{Fails: func(err error) { told = append(told, err.Error()) }}
	if _, err := f.Get(words, path); err == nil || told != nil {
		t.Errorf("who asks is told: %v, %q", err, told)
	}
	write(t, path, "a.")
	for _, step := range []struct{ name, text, want string }{
		{"of use", "a.", ""},
		{"of no use", "a", path + ": there is no end"},
		{"for the same reason", "b", ""},
		{"not there", "", "stat " + path + ": no such file or directory"},
		{"for another reason again", "a", path + ": there is no end"},
		{"of use again", "a.", ""},
		{"of no use again", "a", path + ": there is no end"},
	} {
		if told = nil; step.text == "" {
			rename(t, path, path+"'")
		} else {
			write(t, path, step.text)
		}
		for range 2 {
			if _, err := f.Get(words, path); err != nil {
				t.Error(err)
			}
		}
		if got := strings.Join(told, ", "); got != step.want {
			t.Errorf("%s: told %q, want %q", step.name, got, step.want)
		}
	}
}

func TestFilesAreNotLookedAtMoreOftenThanIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	now := time.Unix(1_000_000, 0)
	f := Files[string]{Every: time.Second, Now: func() time.Time { return now }}
	for _, step := range []struct {
		name, text, want string
		after            time.Duration
	}{
		{"at first", "a.", "a.", 0},
		{"too early", "b.", "a.", time.Second - 1},
		{"a second after the first look", "b.", "b.", 1},
		{"one that is of no use", "c", "b.", time.Second},
		{"is not looked at more often either", "c.", "b.", time.Second / 2},
		{"but as often", "c.", "c.", time.Second / 2},
		{"long after", "d.", "d.", time.Hour},
	} {
		now = now.Add(step.after)
		write(t, path, step.text)
		if got, err := f.Get(words, path); got != step.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", step.name, got, err, step.want)
		}
	}
}

func TestWhatHasBeenReadBeforeIsNotParsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	parsed := 0
	parse := func(texts [][]byte) (string, error) {
		parsed++
		return words(texts)
	}
	var f Files[string]
	for i, text := range []string{"", "a.", "a", "b."} {
		write(t, path, text)
		for range 3 {
			_, _ = f.Get(parse, path)
		}
		if parsed != i+1 {
			t.Fatalf("%q: parsed %d times in all, want %d", text, parsed, i+1)
		}
	}
}

func TestManyMayAskWhileFilesChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "a.")
	var f Files[string]
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				if got, err := f.Get(words, path); err != nil || got != "a." && got != "b." {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	for i := range 100 {
		write(t, path+"'", []string{"b.", "a."}[i%2])
		rename(t, path+"'", path)
	}
	all.Wait()
}
