package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

var bootA, bootB = BootID{1}, BootID{2}

// newImage is that of a journal that was made and never opened.
func newImage() []byte {
	s := super{size: minSize, seed: 0xfeedbeef, id: [16]byte{7}}
	return append(format(s), make([]byte, s.size)...)
}

func mustLoad(t failer, image []byte, boot BootID) *ring {
	t.Helper()
	r, err := load(image, boot)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// failer is what can fail: a test, a check of a property.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// list is what a ring holds.
func list(t failer, r *ring) [][]byte {
	t.Helper()
	var records [][]byte
	for pos := r.start; pos < r.head; {
		b, next, err := r.read(pos, nil)
		if err != nil {
			t.Fatal(err)
		}
		records, pos = append(records, b), next
	}
	if len(records) != r.count {
		t.Fatalf("%d records, counted %d", len(records), r.count)
	}
	return records
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// refused tells whether an image was refused by an error that says what is wrong.
func refused(err error) bool {
	for _, kind := range []error{ErrForeign, ErrVersion, ErrCorrupt, ErrLost} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// payload makes a record that tells its number, and is checked by intact.
func payload(number uint64, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, number)
	random := rand.New(rand.NewPCG(number, 1))
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, random.Uint64())
	}
	return b
}

// intact returns the number that a record tells.
func intact(b []byte) (uint64, error) {
	if len(b) < 8 {
		return 0, fmt.Errorf("%d bytes", len(b))
	}
	number := binary.LittleEndian.Uint64(b)
	if !bytes.Equal(b, payload(number, len(b))) {
		return 0, fmt.Errorf("record %d is not what was appended", number)
	}
	return number, nil
}

// advance moves an empty list to a position: by what it appends, and forgets.
func advance(t failer, r *ring, to uint64) {
	t.Helper()
	for r.head < to {
		n := min(to-r.head, space(r.largest()))
		if err := r.append([][]byte{payload(0, int(n)-recordHeader)}); err != nil {
			t.Fatal(err)
		}
		r.commit(r.head, 0)
	}
	if r.head != to {
		t.Fatalf("head is %d, want %d", r.head, to)
	}
}
