package conn

import "testing"

// TestOneOfSeveralCallersIsNotSoonTakenForTheOnlyOne, but when all others have gone.
func TestOneOfSeveralCallersIsNotSoonTakenForTheOnlyOne(t *testing.T) {
	var c crowd
	for _, n := range []int{1, 1, 1} {
		if c.came(n); c.rounds != 0 {
			t.Fatalf("a crowd after rounds of one message: %+v", c)
		}
	}
	c.came(2)
	for range crowdFor {
		if c.rounds == 0 {
			t.Fatal("no crowd any more")
		}
		c.came(1)
	}
	if c.rounds != 0 {
		t.Errorf("still a crowd: %+v", c)
	}
}

// TestAReaderInACrowdLooksAsOftenAsThatPays: whenever something comes in time; else ever
// less often, and again as ever from the first time that it does.
func TestAReaderInACrowdLooksAsOftenAsThatPays(t *testing.T) {
	looks := func(c *crowd, waits int, found bool) (n int) {
		for range waits {
			if c.looks() {
				n++
				c.looked(found)
			}
		}
		return n
	}
	var c crowd
	const waits = 10_000
	if n := looks(&c, waits, true); n != waits {
		t.Errorf("%d looks in %d waits that are worth one", n, waits)
	}
	if n := looks(&c, waits, false); n < 100 || n > waits/30+pollSkip {
		t.Errorf("%d looks in %d waits that are not worth one", n, waits)
	}
	if n := looks(&c, waits, true); n < waits-(1<<pollSkip) {
		t.Errorf("%d looks in %d waits that are worth one again", n, waits)
	}
}
