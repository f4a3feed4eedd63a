package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestManyGoroutines: records of several goroutines are all there, those of each in
// its order, and none is waited for in vain.
func TestManyGoroutines(t *testing.T) {
	for _, policy := range []Policy{Process, Batch, Each} {
		path := filepath.Join(t.TempDir(), "journal")
		j := mustOpen(t, path, Options{Policy: policy, Interval: time.Millisecond, Size: 1 << 20})
		var all sync.WaitGroup
		for g := range uint64(4) {
			all.Go(func() {
				for i := range uint64(50) {
					end, err := j.Append(payload(g<<32|i, 40))
					if err == nil {
						err = j.Wait(context.Background(), end)
					}
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = j.Room(), j.Stats()
				}
			})
		}
		all.Wait()
		mustClose(t, j)
		var next [4]uint64
		got, err := contents(mustOpen(t, path, Options{}))
		if err != nil || len(got) != 200 {
			t.Fatal(len(got), err)
		}
		for _, b := range got {
			n, err := intact(b)
			if err != nil || n&0xffff != next[n>>32] {
				t.Fatal(n, err)
			}
			next[n>>32]++
		}
	}
}

// TestBatchSharesASync: what is appended within an interval is durable at its end, by
// one sync.
func TestBatchSharesASync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, path, Options{Policy: Batch})
		defer j.Close()
		opened := j.Stats().Syncs
		for range 3 {
			start := time.Now()
			mustAppend(t, j, "one")
			time.Sleep(2 * time.Millisecond)
			end := mustAppend(t, j, "two")
			if err := j.Wait(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != 5*time.Millisecond {
				t.Errorf("durable after %v", took)
			}
			time.Sleep(time.Second)
		}
		if n := j.Stats().Syncs - opened; n != 3 {
			t.Errorf("%d syncs", n)
		}
	})
}

// TestEachSyncsAtOnce: a sync starts at once, and what comes while it runs shares the next.
func TestEachSyncsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, path, Options{Policy: Each, sync: func(func() error) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}})
		defer j.Close()
		opened, start := j.Stats().Syncs, time.Now()
		ends := []uint64{mustAppend(t, j, "one")}
		synctest.Wait()
		ends = append(ends, mustAppend(t, j, "two"), mustAppend(t, j, "three"))
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Millisecond)
		defer cancel()
		if err := j.Wait(ctx, ends[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("durable before the sync has ended: %v", err)
		}
		for i, want := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond} {
			if err := j.Wait(t.Context(), ends[i]); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("record %d is durable after %v", i, took)
			}
		}
		if n := j.Stats().Syncs - opened; n != 2 {
			t.Errorf("%d syncs", n)
		}
	})
}

// TestADiskThatFails: after one sync that fails, nothing is said to be durable any
// more, and what may be lost is not taken for whole later.
func TestADiskThatFails(t *testing.T) {
	for _, policy := range []Policy{Batch, Each} {
		path := filepath.Join(t.TempDir(), "journal")
		var sick error
		disk := func(sync func() error) error { return errors.Join(sick, sync()) }
		j := mustOpen(t, path, Options{Policy: policy, sync: disk})
		if err := j.Wait(t.Context(), mustAppend(t, j, "one")); err != nil {
			t.Fatal(err)
		}
		sick = syscall.EIO
		end := mustAppend(t, j, "two")
		if err := j.Wait(t.Context(), end); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		sick = nil
		if _, err := j.Append(nil); !errors.Is(err, ErrBroken) {
			t.Fatal(err)
		}
		if err := j.Close(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
	for syncs := range 2 { // of Compact
		path := filepath.Join(t.TempDir(), "journal")
		fail := -1
		j := mustOpen(t, path, Options{Policy: Batch, Interval: time.Hour, sync: func(sync func() error) error {
			if fail--; fail == -1 {
				return syscall.ENOSPC
			}
			return sync()
		}})
		mustAppend(t, j, "one")
		fail = syncs
		if err := j.Compact(slices.Values([][]byte{nil})); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "journal")
	for range 2 { // of Open
		if _, err := Open(path, Options{Size: minSize, sync: func(func() error) error { return syscall.EIO }}); !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrLost) {
			t.Fatal(err)
		}
	}
}

func TestClosed(t *testing.T) {
	j := mustOpen(t, filepath.Join(t.TempDir(), "journal"), Options{Policy: Each})
	end := mustAppend(t, j, "one")
	mustClose(t, j)
	if _, err := j.Append(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Compact(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := contents(j); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Wait(t.Context(), end); err != nil {
		t.Errorf("it was made durable: %v", err)
	}
	if err := j.Wait(t.Context(), end+1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestWhatWasSyncedIsMissed: what Wait has returned for, and is not there after a
// restart of the machine, is not taken for what nobody waited for.
func TestWhatWasSyncedIsMissed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := mustOpen(t, path, Options{Policy: Each, boot: func() BootID { return bootA }})
	mustAppend(t, j, "one")
	if err := j.Wait(t.Context(), mustAppend(t, j, "two")); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r := mustLoad(t, image, bootB); r.count != 2 {
		t.Fatalf("%d records", r.count)
	}
	clear(image[headerSize+space(3):])
	if _, err := load(image, bootB); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// TestCloseIsASync: who waits when the journal is closed has waited for that.
func TestCloseIsASync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	synctest.Test(t, func(t *testing.T) {
		j := mustOpen(t, path, Options{Policy: Batch, Interval: time.Hour})
		end := mustAppend(t, j, "one")
		waited := make(chan error)
		go func() { waited <- j.Wait(context.Background(), end) }()
		synctest.Wait()
		mustClose(t, j)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
	})
}
