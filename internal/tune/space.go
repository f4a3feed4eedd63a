package tune

import "rpcpool.dev/workers/go/matmul"

// genes is the number of choices that make a configuration.
const genes = 6

// genome is a configuration as indices into the space's lists of choices.
type genome [genes]int

// Space is a set of configurations: every combination of its choices.
type Space struct {
	tiles   []int
	orders  []string
	unrolls []int
}

// NewSpace returns the search space for n×n matrices: tiles up to n and 256,
// every loop order and unroll factor, packed or not. Which of them the device can
// run is for the search to find out.
func NewSpace(n int) Space {
	s := Space{orders: matmul.Orders(), unrolls: matmul.Unrolls()}
	for _, t := range []int{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256} {
		if t <= max(n, 1) {
			s.tiles = append(s.tiles, t)
		}
	}
	return s
}

// Size is the number of configurations.
func (s Space) Size() int {
	size := 1
	for g := range genes {
		size *= s.choices(g)
	}
	return size
}

// choices is the number of values that gene g can have.
func (s Space) choices(g int) int {
	return [genes]int{len(s.tiles), len(s.tiles), len(s.tiles), len(s.orders), len(s.unrolls), 2}[g]
}

// ordered tells whether neighbouring values of gene g are alike: sizes and
// factors are, loop orders are not.
func ordered(g int) bool { return g != 3 && g != 5 }

// config is the configuration that g stands for.
func (s Space) config(g genome) matmul.Config {
	return matmul.Config{
		TileM: s.tiles[g[0]], TileN: s.tiles[g[1]], TileK: s.tiles[g[2]],
		Order: s.orders[g[3]], Unroll: s.unrolls[g[4]], Pack: g[5] == 1,
	}
}

// at is the i-th configuration of the space, 0 <= i < Size.
func (s Space) at(i int) genome {
	var g genome
	for p := range genes {
		g[p] = i % s.choices(p)
		i /= s.choices(p)
	}
	return g
}

// distance tells how unlike two configurations are, in steps: one per step of
// a size or a factor, four for another value of what has no order.
func distance(a, b genome) int {
	d := 0
	for g := range genes {
		switch {
		case a[g] == b[g]:
		case !ordered(g):
			d += 4
		case a[g] > b[g]:
			d += a[g] - b[g]
		default:
			d += b[g] - a[g]
		}
	}
	return d
}
