package compress

import (
	"sync"
	"time"
)

const (
	// ProbeEvery is how many messages go by between two that are compressed only
	// to see what it would bring.
	ProbeEvery = 64

	weight   = 1. / 8 // of a new sample in an average
	falling  = 1. / 2 // of a cost below its average: what disturbs adds to a cost
	maxSpike = 4      // a cost counts as at most so many times its average
	cold     = 1      // first costs that are forgotten: buffers are made, caches empty
)

// average is an exponentially weighted one.
type average struct {
	value float64
	known bool
}

func (a *average) add(sample, weight float64) {
	if !a.known {
		*a = average{sample, true}
		return
	}
	a.value += weight * (sample - a.value)
}

// Adaptive decides for one method on one connection. The zero value is ready for
// use, by many goroutines. It has no clock: costs are told to it.
type Adaptive struct {
	mu    sync.Mutex
	ratio average // length when compressed, of plain 1
	cpu   average // ns to compress a byte
	link  average // ns that the link needs for a byte
	since int     // messages since the last measurement
	warm  int     // measurements, up to cold + 1
}

// Stats is what an [Adaptive] knows, for metrics; zero is unknown.
type Stats struct {
	Ratio    float64 // compressed length, of plain 1
	CPU      float64 // ns to compress a byte
	LinkRate float64 // bytes per second
	On       bool    // compression pays
}

// Want says whether the next message is to be compressed. n is its length in
// bytes.
func (a *Adaptive) Want(n int) bool {
	if n < MinLen {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since++
	return a.warm <= cold || a.since >= ProbeEvery || a.pays()
}

// pays compares what one byte costs with what it brings.
func (a *Adaptive) pays() bool {
	return a.link.known && a.ratio.known && a.cpu.value < (1-a.ratio.value)*a.link.value
}

// Compressed tells of a message of plain bytes that would have become, or did
// become, packed bytes, in a time.
func (a *Adaptive) Compressed(plain, packed int, took time.Duration) {
	if plain <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = 0
	a.ratio.add(min(float64(packed)/float64(plain), 1), weight)
	a.addCost(float64(took.Nanoseconds()) / float64(plain))
}

func (a *Adaptive) addCost(ns float64) {
	if a.warm <= cold {
		a.warm++
		a.cpu = average{ns, true}
		return
	}
	if ns < a.cpu.value {
		a.cpu.add(ns, falling)
		return
	}
	a.cpu.add(min(ns, maxSpike*a.cpu.value), weight)
}

// Link tells that n bytes took so long to reach the peer, or to be taken by it.
// What only went into a buffer of this machine says nothing of the link.
func (a *Adaptive) Link(n int, took time.Duration) {
	if n <= 0 || took <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link.add(float64(took.Nanoseconds())/float64(n), weight)
}

// Stats returns what is known.
func (a *Adaptive) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Stats{Ratio: a.ratio.value, CPU: a.cpu.value, On: a.pays()}
	if a.link.known {
		s.LinkRate = 1e9 / a.link.value
	}
	return s
}

// Encode appends plain compressed, if a wants that and it becomes shorter, and
// tells a what it cost. compressed is false if plain is to be sent as it is.
func (c *Compressors) Encode(a *Adaptive, dst []byte, id ID, plain []byte) (out []byte, compressed bool) {
	if !a.Want(len(plain)) {
		return dst, false
	}
	start := c.now()
	out, compressed = c.Append(dst, id, plain)
	packed := len(plain)
	if compressed {
		packed = len(out) - len(dst)
		c.plain.Add(uint64(len(plain)))
		c.packed.Add(uint64(packed))
	}
	a.Compressed(len(plain), packed, c.now().Sub(start))
	return out, compressed
}
