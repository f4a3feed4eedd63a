//go:build linux

package main

import (
	"math/rand/v2"
	"time"
)

// generator makes the program of each session from the seed alone, in whatever
// order they are asked for.
type generator struct {
	seed  uint64
	ways  []weighted[way]
	limit int // bytes of memory that a worker may have; 0: no limit
}

// weighted is a choice and how often it is made, compared with the others.
type weighted[T any] struct {
	what   T
	weight int
}

// ways lists every way. Those that hang are rare enough for a device to be busy
// with them less than half of its time.
func ways() []weighted[way] {
	return []weighted[way]{
		{wayGood, 520},
		{waySegfault, 30},
		{wayIllegal, 15},
		{wayAbort, 15},
		{wayExit0, 15},
		{wayExit, 25},
		{wayExitThread, 15},
		{wayPanic, 20},
		{wayDeadlock, 3},
		{waySpin, 5},
		{wayIgnoreSigterm, 4},
		{waySigstop, 6},
		{wayLeakFD, 20},
		{wayCloseFDs, 10},
		{wayGarbage, 15},
		{wayGrandchildren, 15},
		{wayForkBomb, 6},
		{wayHog, 15},
		{wayFIN, 30},
		{wayRST, 30},
		{wayHalfClose, 20},
		{wayVanish, 15},
		{wayVanishRST, 15},
		{wayHalfCall, 10},
		{wayJunk, 12},
		{wayJunkLeave, 8},
		{wayCutPacket, 20},
		{wayHold, 5},
		{wayMute, 4},
		{wayDoorJunk, 20},
		{wayDoorSilent, 3},
		{wayDoorCut, 20},
		{wayDoorStale, 20},
	}
}

// wayHogOverWeight is how often a worker takes more memory than it may, where
// there is a limit. The kernel takes a second to kill one.
const wayHogOverWeight = 2

// rare are ways that cost too much to be chosen by weight: each is taken once in
// so many sessions.
func rare() []weighted[way] {
	return []weighted[way]{
		{wayGhost, 4000},         // its device waits eight seconds for it
		{wayStackOverflow, 3000}, // computes for seconds before it dies
	}
}

// newGenerator makes a generator; memory is the workers' limit in bytes.
func newGenerator(seed uint64, memory int) *generator {
	g := &generator{seed: seed, ways: ways(), limit: memory}
	if memory > 0 {
		g.ways = append(g.ways, weighted[way]{wayHogOver, wayHogOverWeight})
	}
	return g
}

// program makes the program of a session.
func (g *generator) program(number int) program {
	r := rand.New(rand.NewPCG(g.seed, uint64(number))) //nolint:gosec // to be repeated, not to be secret
	p := program{number: number, way: pick(r, g.ways), pick: r.Uint64()}
	for _, w := range rare() {
		if r.IntN(w.weight) == 0 {
			p.way = w.what
		}
	}
	p.arg = g.argument(r, p.way)
	p.timeout = timeout(r, p.way)
	if p.way == wayMute || !p.way.session() {
		return p
	}
	for range r.IntN(5) {
		p.calls = append(p.calls, g.call(r))
	}
	return p
}

func (*generator) call(r *rand.Rand) call {
	switch kind := pick(r, []weighted[callKind]{{callAddOne, 50}, {callEcho, 25}, {callFile, 20}, {callMatmul, 5}}); kind {
	case callAddOne:
		return call{kind, r.IntN(1 << 30)}
	case callEcho:
		return call{kind, 1 << r.IntN(15)}
	case callFile:
		return call{kind, r.IntN(1 << (4 + r.IntN(17)))} // to 1 MiB, most much smaller
	default:
		return call{kind, 8 << r.IntN(3)}
	}
}

func (g *generator) argument(r *rand.Rand, w way) int {
	switch w {
	case wayVanish, wayVanishRST, wayHalfCall:
		return r.IntN(8) // 0: computes, else sleeps
	case wayExit, wayExitThread:
		return 1 + r.IntN(255)
	case wayLeakFD:
		return 1 + r.IntN(200)
	case wayGrandchildren:
		return 1 + r.IntN(3)
	case wayForkBomb:
		return 1 + r.IntN(15)
	case wayHog:
		return (1 + r.IntN(24)) << 20
	case wayHogOver:
		return 2 * g.limit
	default:
		return 0
	}
}

// generous is the timeout of sessions that should not run into it.
const generous = 20 * time.Second

// timeout is what the client asks for: short where it will be reached.
func timeout(r *rand.Rand, w way) time.Duration {
	switch w {
	case waySpin, wayIgnoreSigterm, waySigstop, wayDeadlock, wayHold, wayMute:
		const shortest = 200 * time.Millisecond
		if r.IntN(10) == 0 {
			return shortest + time.Duration(r.IntN(1800))*time.Millisecond
		}
		return shortest + time.Duration(r.IntN(300))*time.Millisecond
	default:
		return generous
	}
}

// pick chooses by weight.
func pick[T any](r *rand.Rand, from []weighted[T]) T {
	total := 0
	for _, w := range from {
		total += w.weight
	}
	n := r.IntN(total)
	for _, w := range from {
		if n -= w.weight; n < 0 {
			return w.what
		}
	}
	panic("weights do not add up") // unreachable
}
