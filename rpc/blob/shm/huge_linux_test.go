package shm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

const hugePages = "/proc/sys/vm/nr_hugepages"

// hugeOf tells whether a party's blob is in huge pages, as the file system of its segment says.
func hugeOf(t *testing.T, h *Host, owner blob.PartyID, handle blob.Handle) bool {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	p, err := h.table.Locate(owner, blob.Call{}, handle)
	if err != nil {
		t.Fatal(err)
	}
	m := h.segments[p.Segment]
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(m.file.Fd()), &fs); err != nil {
		t.Fatal(err)
	}
	huge := int64(fs.Type) == unix.HUGETLBFS_MAGIC //nolint:unconvert // it is an int32 elsewhere
	if huge != m.huge || huge && fs.Bsize != hugePage {
		t.Errorf("a segment is said to be huge: %v; its file system is %#x, of pages of %d bytes", m.huge, fs.Type, fs.Bsize)
	}
	return huge
}

// freeHugePages is how many the system has that nobody uses or has reserved.
func freeHugePages(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 {
			n[f[0]], _ = strconv.Atoi(f[1])
		}
	}
	return n["HugePages_Free:"] - n["HugePages_Rsvd:"]
}

// setAside has the system set some huge pages more aside, for as long as a test runs.
func setAside(t *testing.T, pages int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can set huge pages aside: nothing is known of them")
	}
	before, err := os.ReadFile(hugePages)
	if err != nil {
		t.Skipf("this system has no huge pages: %v", err)
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(before)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hugePages, fmt.Append(nil, have+pages), 0); err != nil {
		t.Skipf("this system sets no huge pages aside: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(hugePages, before, 0); err != nil {
			t.Error(err)
		}
	})
	if n := freeHugePages(t); n < pages {
		t.Skipf("this system has set %d of %d huge pages aside", n, pages)
	}
}

// TestHugePagesAreForWhatNobodyElseWrites, and peers read it as any other.
func TestHugePagesAreForWhatNobodyElseWrites(t *testing.T) {
	setAside(t, 8)
	h := newHost(t, Options{HugePages: true})
	far, err := h.Join("far")
	if err != nil {
		t.Fatal(err)
	}
	near := connect(t, h, "near")
	before := freeHugePages(t)
	for _, c := range []struct {
		name string
		lend blob.Rights
		huge bool
	}{{"read", blob.Read, true}, {"written", blob.Read | blob.Write, false}} {
		b, err := far.Allocate(3<<20, c.lend)
		if err != nil {
			t.Fatal(err)
		}
		if got := hugeOf(t, h, far.ID(), b); got != c.huge {
			t.Errorf("what is lent to be %s is in huge pages: %v", c.name, got)
		}
		w, err := far.Borrow(b, blob.InOut)
		if err != nil {
			t.Fatal(err)
		}
		fillWith(w.Bytes, 5)
		w.Release()
		shared, err := far.Share(b, 0, 3<<20, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		v, err := near.Open(shared, blob.In, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(v.Bytes(), []byte{5}); n != 3<<20 {
			t.Errorf("%d bytes are read as they were written", n)
		}
		if err := errors.Join(v.Close(), far.Free(b)); err != nil {
			t.Error(err)
		}
		mine, err := near.Allocate(100, c.lend)
		if err != nil {
			t.Fatal(err)
		}
		if hugeOf(t, h, near.Party(), mine.Handle()) {
			t.Errorf("another process can punch holes in huge pages, lent to be %s", c.name)
		}
	}
	if n := freeHugePages(t); n >= before {
		t.Errorf("%d huge pages are free, as many as before", n)
	}
}

// TestAHoleInHugePagesIsNotFilledAgain when somebody else has taken what was set aside: the reason why they
// are for nobody else to write.
func TestAHoleInHugePagesIsNotFilledAgain(t *testing.T) {
	setAside(t, 2)
	m, err := newMemory(hugePage, true)
	if err != nil {
		t.Fatal(err)
	}
	fillWith(m.bytes, 1)
	peer, err := m.open(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(peer.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, hugePage); err != nil {
		t.Fatalf("no hole: %v", err)
	}
	for freeHugePages(t) > 0 { // somebody takes what there is
		other, err := newMemory(hugePage, true)
		if err != nil {
			t.Fatal(err)
		}
		fillWith(other.bytes, 2)
		t.Cleanup(func() { _ = other.discard() })
	}
	// The kernel says EFAULT for us where an access of ours would end in SIGBUS.
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(int(out.Fd()), m.bytes[:1]); !errors.Is(err, unix.EFAULT) {
		t.Errorf("a hole is read: %v", err)
	}
	if err := errors.Join(in.Close(), out.Close(), peer.Close(), m.discard()); err != nil {
		t.Error(err)
	}
}

// TestWithoutHugePages: where there are none, blobs are in pages as any.
func TestWithoutHugePages(t *testing.T) {
	if n := freeHugePages(t); n > 0 {
		t.Skipf("this system has %d huge pages", n)
	}
	h := newHost(t, Options{HugePages: true})
	far, err := h.Join("far")
	if err != nil {
		t.Fatal(err)
	}
	b, err := far.Allocate(10_000, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	if hugeOf(t, h, far.ID(), b) || h.plain != 1 {
		t.Errorf("%d segments had no huge pages, want 1", h.plain)
	}
	w, err := far.Borrow(b, blob.InOut)
	if err != nil {
		t.Fatal(err)
	}
	fillWith(w.Bytes, 4)
	w.Release()
}
