package journal

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func mustOpen(t testing.TB, path string, opt Options) *Journal {
	t.Helper()
	if opt.Size == 0 {
		opt.Size = minSize
	}
	j, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, record string) uint64 {
	t.Helper()
	end, err := j.Append([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func mustClose(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func text(t testing.TB, j *Journal) string {
	t.Helper()
	all, err := contents(j)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, b := range all {
		words = append(words, string(b))
	}
	return strings.Join(words, " ")
}

func TestAJournalIsFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, path, Options{})
	id := j.ID()
	if id == ([16]byte{}) || j.Life() != 1 {
		t.Fatalf("identity %x, life %d", id, j.Life())
	}
	mustAppend(t, j, "one")
	mustAppend(t, j, "two")
	mustClose(t, j)
	if err := j.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	j = mustOpen(t, path, Options{Size: 1 << 20})
	if text(t, j) != "one two" || j.ID() != id || j.Life() != 2 || j.Stats().Limit != minSize/2 {
		t.Fatalf("%q, identity %x, life %d, %+v", text(t, j), j.ID(), j.Life(), j.Stats())
	}
	for b := range j.Records() {
		if string(b) != "one" {
			t.Fatalf("%q", b)
		}
		break
	}
}

// TestFullIsNotBroken: a journal that is full says so as often as it is asked, and
// goes on when it has been compacted.
func TestFullIsNotBroken(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	n := 0
	for ; ; n++ {
		if _, err := j.Append(payload(uint64(n), 100)); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if n != minSize/2/int(space(104)) || j.Stats().Full != 1 {
		t.Fatalf("%d records, %+v", n, j.Stats())
	}
	all, err := contents(j)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Compact(slices.Values(append(all, make([]byte, 1000)))); !errors.Is(err, ErrFull) {
		t.Fatalf("compacted to more than there is room for: %v", err)
	}
	if err := j.Compact(slices.Values([][]byte{make([]byte, minSize)})); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("compacted to what is too large: %v", err)
	}
	if err := j.Compact(slices.Values(all)); err != nil {
		t.Fatalf("compacted to all that there was: %v", err)
	}
	if _, err := j.Append(make([]byte, 100)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if err := j.Compact(slices.Values(all[1:])); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, "goes on")
	if got, err := contents(j); err != nil || len(got) != n || string(got[n-1]) != "goes on" {
		t.Fatal(len(got), err)
	}
}

// TestRecordsOfAListThatIsGone: a reader is told when it is compacted away.
func TestRecordsOfAListThatIsGone(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	mustAppend(t, j, "one")
	mustAppend(t, j, "two")
	var got []string
	for b, err := range j.Records() {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, string(b))
		if err := j.Compact(slices.Values([][]byte{[]byte("three")})); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[0] != "one" || !strings.Contains(got[1], "compacted while it was read") {
		t.Fatalf("%q", got)
	}
}

// TestPanicsOfOthers: a fault that is not the journal's, or a panic of whoever gives it
// records, is not hidden, and leaves it as it was.
func TestPanicsOfOthers(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{})
	mustAppend(t, j, "one")
	func() {
		defer func() {
			if r := recover(); r != "oops" {
				t.Fatal(r)
			}
		}()
		_ = j.Compact(func(yield func([]byte) bool) {
			yield([]byte("two"))
			panic("oops")
		})
	}()
	mustAppend(t, j, "three")
	if text(t, j) != "one three" {
		t.Fatalf("%q", text(t, j))
	}
}
