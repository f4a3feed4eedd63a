//go:build linux

package main

import (
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// book is where everybody notes what happens: the checker behind a lock, what
// is counted for the report, and the ground truth on disk if it is to be kept.
type book struct {
	mu      sync.Mutex
	checker *checker
	kills   map[hitKind]int
	truth   io.Writer // nil: not kept

	ended atomic.Int64
}

func newBook(b bounds, servers int, truth io.Writer) *book {
	book := &book{checker: newChecker(b, servers), kills: map[hitKind]int{}, truth: truth}
	book.checker.broken = func(v violation) { book.write("violation", v.rule+": "+v.what) }
	return book
}

// write adds to the ground truth.
func (b *book) write(kind, what string) {
	if b.truth == nil {
		return
	}
	line, err := json.Marshal(map[string]string{"at": time.Now().Format(time.RFC3339Nano), "kind": kind, "what": what})
	if err == nil {
		_, _ = b.truth.Write(append(line, '\n'))
	}
}

func (b *book) visit(v visit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write("session", v.String())
	b.checker.visit(v)
	b.ended.Add(1)
}

func (b *book) record(r record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write("record", r.String())
	b.checker.record(r)
}

func (b *book) broke(v violation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checker.broke(v)
}

// hit notes what is about to be done, and returns how to note that it is over.
func (b *book) hit(h hit) (over func(kind hitKind)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write("kill", h.String())
	b.kills[h.kind]++
	end := b.checker.hit(h)
	return func(kind hitKind) {
		b.mu.Lock()
		defer b.mu.Unlock()
		end(time.Now(), kind)
	}
}

// judge judges what is old enough.
func (b *book) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checker.judge(time.Now(), false)
}

// settled tells whether every session that a record is expected of has one.
func (b *book) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checker.settled()
}

func (b *book) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checker.finish(time.Now())
}

// broken is how many promises were broken so far.
func (b *book) broken() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, more := range b.checker.tally.broken {
		n += more
	}
	return n
}

func (b *book) killed() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, more := range b.kills {
		n += more
	}
	return n
}
