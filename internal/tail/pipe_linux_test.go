package tail

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// piped makes a pipe of which the last 8 bytes are kept, and its end for writing.
func piped(t *testing.T, also *bytes.Buffer) (*Pipe, *os.File) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(ends[1]), "w")
	t.Cleanup(func() { _ = w.Close() })
	r := os.NewFile(uintptr(ends[0]), "r")
	if also == nil {
		return New(r, 8, nil), w
	}
	return New(r, 8, also), w
}

func write(t *testing.T, w *os.File, text string) {
	t.Helper()
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestWhatWasWrittenBeforeItIsInTheTail, whoever reads the pipe, and however far that one is.
func TestWhatWasWrittenBeforeItIsInTheTail(t *testing.T) {
	p, w := piped(t, nil)
	if got := p.Tail(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	write(t, w, "some words")
	if got := p.Tail(); string(got) != "me words" {
		t.Errorf("of what nobody has collected: %q", got)
	}
	go p.Collect()
	for _, text := range []string{"one", "another", strings.Repeat("x", 40<<10) + "the last"} {
		write(t, w, text)
		if got := string(p.Tail()); !strings.HasSuffix(got, text[max(0, len(text)-8):]) || len(got) != 8 {
			t.Errorf("after %.10q it is %q", text, got)
		}
	}
	p.Stop(0)
	if got := string(p.Tail()); got != "the last" {
		t.Errorf("of a pipe that is closed: %q", got)
	}
}

func TestWhatIsForgottenIsNotInTheTail(t *testing.T) {
	p, w := piped(t, nil)
	write(t, w, "before")
	p.Forget()
	write(t, w, "now")
	if got := string(p.Tail()); got != "now" {
		t.Errorf("it is %q", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhoWritesWithoutEndDoesNotKeepTheTail(t *testing.T) {
	zeros, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	p := New(zeros, 8, nil)
	if got := string(p.Tail()); got != strings.Repeat("\x00", 8) {
		t.Errorf("it is %q", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestAllIsCopied, which is more than the pipe holds.
func TestAllIsCopied(t *testing.T) {
	var all bytes.Buffer
	p, w := piped(t, &all)
	go p.Collect()
	some := strings.Repeat("a line of it\n", 100)
	for range 1000 {
		write(t, w, some)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.Stop(time.Minute) // it has an end: nobody waits so long
	if want := strings.Repeat(some, 1000); all.String() != want {
		t.Errorf("%d bytes are copied, want %d", all.Len(), len(want))
	}
}
