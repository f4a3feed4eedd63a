package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keep is how many records a child keeps when it compacts.
const keep = 20

// ledger is a word that outlives who writes it, without any journal: the number of the
// last record of which Append has said that it was written.
func ledger(dir string) (*atomic.Uint64, func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := f.Truncate(8); err != nil {
		return nil, nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b))), func() { _ = unix.Munmap(b) }, nil
}

// appendUntilKilled is the child: it goes on where the last one was killed. It says
// so by a line, or else why it cannot.
func appendUntilKilled(dir string) {
	fmt.Println(func() error {
		done, _, err := ledger(dir)
		if err != nil {
			return err
		}
		policy := Policy(rand.IntN(2))
		j, err := Open(filepath.Join(dir, "journal"), Options{Size: 64 << 10, Policy: policy, Interval: time.Millisecond})
		if err != nil {
			return err
		}
		list, err := contents(j)
		if err != nil {
			return err
		}
		last, err := lastOf(list, done.Load())
		if err != nil {
			return err
		}
		done.Store(last)
		fmt.Println("ready")
		for {
			last++
			record := payload(last, 8+rand.IntN(rand.IntN(1000)+1))
			_, err := j.Append(record)
			if errors.Is(err, ErrFull) {
				list = list[max(0, len(list)-keep):]
				last--
				err = j.Compact(func(yield func([]byte) bool) {
					for _, b := range list {
						if !yield(b) {
							return
						}
					}
				})
			} else if err == nil {
				list = append(list, record)
				done.Store(last)
			}
			if err != nil {
				return err
			}
		}
	}())
}

// lastOf checks a list that a child has left, of which done was its last record, or
// the last but one.
func lastOf(list [][]byte, done uint64) (uint64, error) {
	last := uint64(0)
	for i, b := range list {
		n, err := intact(b)
		if err != nil || i > 0 && n != last+1 {
			return 0, fmt.Errorf("record %d after %d: %w", n, last, err)
		}
		last = n
	}
	if last != done && last != done+1 || uint64(len(list)) < min(keep, done) {
		return 0, fmt.Errorf("%d records up to %d, %d were appended", len(list), last, done)
	}
	return last, nil
}

// TestKilledAtAnyMoment kills a process that appends and compacts without end, again
// and again, and looks each time at what it has left.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds, seed := 60, rand.Uint64()
	if os.Getenv("RPCPOOL_STRESS") != "" {
		rounds = 3000
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir, started, within, torn, total := t.TempDir(), 0, 0, 0, uint64(0)
	done, unmap, err := ledger(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	for round := range rounds {
		if round%20 == 19 { // makers are killed, too
			if err := os.Remove(filepath.Join(dir, "journal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			total += done.Swap(0)
		}
		killed := startAndKill(t, dir, random)
		image, err := os.ReadFile(filepath.Join(dir, "journal"))
		if errors.Is(err, fs.ErrNotExist) && done.Load() == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r := mustLoad(t, image, bootID())
		last, err := lastOf(list(t, r), done.Load())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if last != done.Load() {
			within++
		}
		if at := r.data[r.head%r.size:]; le.Uint32(at[12:]) == uint32(r.head/16) {
			torn++
		}
		if killed {
			started++
		}
	}
	t.Logf("%d records; %d lives ended at work, %d of them with half a record, %d with one that was not told of",
		total+done.Load(), started, torn, within)
}

// startAndKill tells whether the child had begun its work.
func startAndKill(t *testing.T, dir string, random *rand.Rand) (working bool) {
	t.Helper()
	cmd := childIn(t, dir, "append")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if working = random.IntN(5) > 0; working && lines.Scan() && lines.Text() != "ready" {
		t.Errorf("child: %s", lines.Text())
	}
	// Whenever this is over, the child is somewhere.
	time.Sleep(time.Duration(random.IntN(5000)) * time.Microsecond)
	_ = cmd.Process.Kill()
	for lines.Scan() {
		if lines.Text() != "ready" {
			t.Errorf("child: %s", lines.Text())
		}
	}
	_ = cmd.Wait()
	return working
}
