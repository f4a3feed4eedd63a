package server

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// sampled is how much of long arguments goes into their checksum at either end, in bytes.
const sampled = 8 << 10

// sum is the checksum of arguments, by which a client is found out that uses a number for
// two calls: samples are good enough for that. Which calls kill their workers is told by
// exact, which is 0 if sum says all.
func (c *Core) sum(args []byte) (sum, exact uint64) {
	n := len(args)
	if n <= 2*sampled {
		return xxhash.Sum64(args), 0
	}
	if c.opts.Apart {
		exact = xxhash.Sum64(args)
	}
	return xxhash.Sum64(args[:sampled]) ^ bits.RotateLeft64(xxhash.Sum64(args[n-sampled:]), 1) ^ uint64(n), exact
}
