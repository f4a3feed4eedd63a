package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a journal on a machine of which the test says when it dies, beside the
// plainest journal there is: a list.
type world struct {
	t       *rapid.T
	path    string
	j       *Journal
	policy  Policy
	boot    BootID
	number  uint64
	list    [][]byte
	may     [][][]byte // lists that may be found if the machine dies now
	memory  [][]byte   // images that the file has had since it was synced; the first is what the disk has
	lossy   bool       // the machine's death may be told instead of a list
	random  *rand.Rand
	crashes int
}

func newWorld(t *rapid.T, dir string) *world {
	seed := rapid.Uint64().Draw(t, "seed")
	w := &world{
		t: t, path: filepath.Join(dir, "journal"), random: rand.New(rand.NewPCG(seed, 0)), boot: bootA, may: [][][]byte{nil},
		policy: rapid.SampledFrom([]Policy{Process, Batch}).Draw(t, "policy"), number: 1,
	}
	w.open()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) image() []byte {
	image, err := os.ReadFile(w.path)
	w.must(err)
	return image
}

// options are of a journal that is synced only when it has to be.
func (w *world) options(boot BootID, sync func(func() error) error) Options {
	return Options{
		Size: minSize, Policy: w.policy, Interval: time.Hour,
		boot: func() BootID { return boot }, sync: sync,
	}
}

// open starts a life, and compares the list.
func (w *world) open() {
	syncs := 0
	j, err := Open(w.path, w.options(w.boot, func(func() error) error {
		if syncs++; syncs == 2 { // the new life is in the file
			w.lossy = w.lossy || w.policy == Process
		}
		w.machineDies() // just before
		w.memory = [][]byte{w.image()}
		return nil
	}))
	w.must(err)
	w.j, w.lossy = j, w.policy == Process
	w.may = [][][]byte{w.list}
	w.Check(w.t)
}

// Check is what holds after every action.
func (w *world) Check(*rapid.T) {
	w.t.Helper()
	got, err := contents(w.j)
	w.must(err)
	if !same(got, w.list) {
		w.t.Fatalf("%d records %s, want %d %s", len(got), numbers(got), len(w.list), numbers(w.list))
	}
	if s := w.j.Stats(); s.Records != len(w.list) || s.Used+w.j.Room() != s.Limit {
		w.t.Fatalf("%d records, %+v, room for %d", len(w.list), s, w.j.Room())
	}
}

// contents is the list of a journal.
func contents(j *Journal) ([][]byte, error) {
	var all [][]byte
	for b, err := range j.Records() {
		if err != nil {
			return all, err
		}
		all = append(all, slices.Clone(b))
	}
	return all, nil
}

func numbers(list [][]byte) string {
	var all []string
	for _, b := range list {
		n, err := intact(b)
		all = append(all, fmt.Sprint(n, " ", err))
	}
	return fmt.Sprint(all)
}

// machineDies looks at what would be found if the machine died now: of each
// sector, any version since the last sync.
func (w *world) machineDies() {
	if w.memory == nil {
		return
	}
	w.memory = append(w.memory, w.image())
	found := make([]byte, len(w.memory[0]))
	for at := 0; at < len(found); at += 512 {
		copy(found[at:at+512], w.memory[w.random.IntN(len(w.memory))][at:])
	}
	w.found(found, BootID{9}, w.may, w.lossy)
}

// found loads an image, and looks for its list among others.
func (w *world) found(image []byte, boot BootID, among [][][]byte, mayBeLost bool) {
	w.t.Helper()
	w.crashes++
	r, err := load(image, boot)
	if mayBeLost && errors.Is(err, ErrLost) {
		return
	}
	w.must(err)
	got := list(w.t, r)
	if !slices.ContainsFunc(among, func(l [][]byte) bool { return same(got, l) }) {
		w.t.Fatalf("found %s, not one of %d lists, the last %s", numbers(got), len(among), numbers(among[len(among)-1]))
	}
}

// do carries out a change, and looks at what is found if the process dies in it.
func (w *world) do(to [][]byte, change func() error) {
	before, from := w.image(), w.list
	w.may = append(w.may, to)
	err := change()
	if errors.Is(err, ErrFull) || errors.Is(err, ErrTooLarge) {
		w.may = w.may[:len(w.may)-1]
		to, err = from, nil
	}
	w.must(err)
	w.list = to
	after := w.image()
	w.found(w.torn(before, after), w.boot, [][][]byte{from, to}, false)
	w.found(after, w.boot, [][][]byte{to}, false)
	if len(w.memory) < 8 {
		w.memory = append(w.memory, after)
	}
}

// torn is an image with some of the bytes of a change: of the ring; or else all of
// those, and some of the slot. The mark comes last and is missing.
func (w *world) torn(before, after []byte) []byte {
	torn := slices.Clone(before)
	lo, hi := headerSize, len(torn)
	if w.random.IntN(2) == 0 {
		copy(torn[headerSize:], after[headerSize:])
		lo, hi = slotAt, writtenAt
	}
	for ; lo < hi; lo += 512 {
		if bytes.Equal(torn[lo:lo+512], after[lo:lo+512]) {
			continue
		}
		for at := lo; at < lo+512; at++ {
			if w.random.IntN(2) == 0 {
				torn[at] = after[at]
			}
		}
	}
	return torn
}

func (w *world) record(largest int) []byte {
	w.number++
	return payload(w.number, rapid.IntRange(8, largest).Draw(w.t, "size"))
}

// Append is the action.
func (w *world) Append(*rapid.T) {
	b := w.record(rapid.SampledFrom([]int{8, 60, 500, minSize/8 + 20}).Draw(w.t, "largest"))
	cut := rapid.IntRange(0, len(b)).Draw(w.t, "parts")
	room, size := w.j.Room(), uint64(len(b))
	w.do(append(slices.Clone(w.list), b), func() error {
		_, err := w.j.Append(b[:cut], b[cut:])
		switch tooLarge := size > minSize/8-recordHeader; {
		case tooLarge != errors.Is(err, ErrTooLarge),
			!tooLarge && (space(int(size)) > room) != errors.Is(err, ErrFull):
			w.t.Fatalf("room for %d, %d bytes: %v", room, size, err)
		}
		return err
	})
}

// Compact is the action. It always has room for some of the records and one more.
func (w *world) Compact(*rapid.T) {
	var kept [][]byte
	odds := rapid.IntRange(0, 4).Draw(w.t, "odds")
	for _, b := range w.list {
		if w.random.IntN(4) < odds {
			kept = append(kept, b)
		}
	}
	w.do(kept, func() error { return w.j.Compact(slices.Values(kept)) })
	if !same(w.list, kept) {
		w.t.Fatal("there was no room for what was there")
	}
	if w.policy == Batch { // it was synced
		w.may = [][][]byte{kept}
	}
}

// CloseAndOpen is the action: the machine may have been restarted meanwhile.
func (w *world) CloseAndOpen(*rapid.T) {
	w.must(w.j.Close())
	w.boot[1]++
	w.may, w.lossy = [][][]byte{w.list}, false
	w.open()
}

// Kill is the action: the process dies, another one goes on.
func (w *world) Kill(*rapid.T) {
	image, memory := w.image(), w.memory
	w.memory = nil
	w.must(w.j.Close())
	w.must(os.WriteFile(w.path, image, 0o600))
	w.memory = memory
	w.policy = rapid.SampledFrom([]Policy{w.policy, Process, Batch}).Draw(w.t, "policy")
	w.open()
}

// MachineDies is the action.
func (w *world) MachineDies(*rapid.T) { w.machineDies() }

// TestModel compares a journal with a list, over crashes of its process and of its
// machine at any moment.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	crashes := 0
	rapid.Check(t, func(rt *rapid.T) {
		defer func() { _ = os.Remove(filepath.Join(dir, "journal")) }() // or the next check finds it
		w := newWorld(rt, dir)
		defer func() {
			w.memory = nil
			_ = w.j.Close()
			crashes += w.crashes
		}()
		rt.Repeat(rapid.StateMachineActions(w))
	})
	t.Logf("%d crashes", crashes)
}
