package blob

import "math/bits"

// Page is the unit of memory, bytes. No two blobs share one, so that each can be
// given its own protection.
const Page = 4096

// Size classes are numbers of pages, four to each doubling: 1 2 3 4 5 6 7 8 10 12 14
// 16 20 …; so a blob of more than four pages wastes less than a fifth of its class.

// floorClass is the largest class that n pages hold.
func floorClass(n uint64) int {
	if n < 4 {
		return int(n) - 1
	}
	exp := bits.Len64(n) - 1
	return (exp-1)*4 + int(n>>(exp-2)&3) - 1
}

// ceilClass is the smallest class that holds n pages.
func ceilClass(n uint64) int {
	c := floorClass(n)
	if classPages(c) < n {
		c++
	}
	return c
}

// classPages is how many pages a class has.
func classPages(c int) uint64 {
	if c < 3 {
		return uint64(c + 1)
	}
	return uint64(4+(c+1)%4) << ((c+1)/4 - 1)
}

// pagesFor is how many pages a blob of some bytes takes: its class.
func pagesFor(size uint64) uint64 {
	pages := size / Page
	if size%Page > 0 || pages == 0 {
		pages++
	}
	return classPages(ceilClass(pages))
}
