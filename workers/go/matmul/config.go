package matmul

import (
	"fmt"
	"slices"
	"strings"
)

// MaxN bounds the size of a problem (rows and columns), so that a mistyped size
// is an error and not an hour of work.
const MaxN = 4096

// Config is one point of the search space: a way to compute the same product.
type Config struct {
	// TileM, TileN and TileK are the tile's sizes in rows of C, columns of C and
	// terms of the sum. A tile larger than the matrix is cut to the matrix.
	TileM int `json:"tm"`
	TileN int `json:"tn"`
	TileK int `json:"tk"`
	// Order is the nesting of the loops over i (rows of C), j (columns of C) and
	// k (terms), outermost first; it holds between tiles and within a tile.
	Order string `json:"order"`
	// Unroll is how many steps of the middle loop are jammed into the innermost.
	Unroll int `json:"unroll"`
	// Pack says whether tiles of A and B are copied to the scratchpad first, in
	// the layout that the innermost loop reads.
	Pack bool `json:"pack"`
}

// Naive is the plain triple loop: no tiles to speak of, no unrolling, no packing. It
// is what every other configuration is compared with.
func Naive() Config {
	return Config{TileM: 1, TileN: 1, TileK: 256, Order: "ijk", Unroll: 1}
}

// Orders returns the loop orders, in a fixed order.
func Orders() []string { return []string{"ijk", "ikj", "jik", "jki", "kij", "kji"} }

// Unrolls returns the unroll factors, ascending.
func Unrolls() []int { return []int{1, 2, 4, 8} }

// Validate reports what is wrong with c: a size below 1 or above [MaxN], an
// order that is no permutation of ijk, an unknown unroll factor. It does not
// tell whether the tiles fit the device's scratchpad.
func (c Config) Validate() error {
	for _, t := range []struct {
		name string
		size int
	}{{"tm", c.TileM}, {"tn", c.TileN}, {"tk", c.TileK}} {
		if t.size < 1 || t.size > MaxN {
			return fmt.Errorf("tile size %s=%d: want 1..%d", t.name, t.size, MaxN)
		}
	}
	if !slices.Contains(Orders(), c.Order) {
		return fmt.Errorf("loop order %q: want one of %s", c.Order, strings.Join(Orders(), ", "))
	}
	if !slices.Contains(Unrolls(), c.Unroll) {
		return fmt.Errorf("unroll factor %d: want one of %v", c.Unroll, Unrolls())
	}
	return nil
}

// String is the configuration in one short line, e.g.
// "32×64×16 ikj unroll 4 packed".
func (c Config) String() string {
	s := fmt.Sprintf("%d×%d×%d %s unroll %d", c.TileM, c.TileN, c.TileK, c.Order, c.Unroll)
	if c.Pack {
		s += " packed"
	}
	return s
}
