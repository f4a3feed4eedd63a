package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processor returns a function that reports the processor's time for an operation: of
// use on a machine that has something else to do.
func processor(b *testing.B) func() {
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := spent()
	return func() { b.ReportMetric(float64(spent()-start)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkAppend is what a record costs, beside the least that it can (its bytes
// copied to a mapping) and what it would cost without one (a write to a file).
func BenchmarkAppend(b *testing.B) {
	const size = 16 << 20
	for _, n := range []int{64, 128, 4096} {
		record := payload(1, n)
		b.Run(fmt.Sprintf("%d/floor", n), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := allocate(f, size); err != nil {
				b.Fatal(err)
			}
			m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = unix.Munmap(m) }()
			at, space := 0, int(space(n))
			defer processor(b)()
			for b.Loop() {
				if at+space > size {
					at = 0
				}
				copy(m[at:], record)
				at += space
			}
		})
		for _, policy := range []Policy{Process, Batch} {
			b.Run(fmt.Sprintf("%d/%v", n, policy), func(b *testing.B) {
				j := mustOpen(b, filepath.Join(b.TempDir(), "journal"), Options{Size: size, Policy: policy})
				head, tail := record[:20], record[20:]
				b.ReportAllocs()
				defer processor(b)()
				for b.Loop() {
					_, err := j.Append(head, tail)
					if errors.Is(err, ErrFull) {
						err = j.Compact(slices.Values([][]byte{record}))
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%d/write", n), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			defer processor(b)()
			for at := 0; b.Loop(); at += n {
				if at+n > size {
					at = 0
					if _, err := f.Seek(0, 0); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := f.Write(record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompact is how long a journal stands still for what is kept.
func BenchmarkCompact(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j := mustOpen(b, filepath.Join(b.TempDir(), "journal"), Options{Size: 64 << 20})
			records := slices.Repeat([][]byte{payload(1, 100)}, n)
			b.SetBytes(int64(n) * 100)
			defer processor(b)()
			for b.Loop() {
				if err := j.Compact(slices.Values(records)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is how long a restart takes.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "journal")
	j := mustOpen(b, path, Options{Size: 64 << 20})
	for range 100_000 {
		if _, err := j.Append(payload(1, 100)); err != nil {
			b.Fatal(err)
		}
	}
	mustClose(b, j)
	defer processor(b)()
	for b.Loop() {
		j := mustOpen(b, path, Options{})
		for _, err := range j.Records() {
			if err != nil {
				b.Fatal(err)
			}
		}
		mustClose(b, j)
	}
}
