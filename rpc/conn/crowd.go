package conn

// crowdFor is how many rounds of one message it takes to believe, after one of several, that
// there is one caller.
const crowdFor = 32

// crowd is what a reader knows of how many callers are at work, and of what looking for their
// messages has brought.
type crowd struct {
	rounds int // until there is but one caller, if no other comes
	empty  int // looks in a row that found nothing, up to pollSkip
	sleeps int // waits without a look that are still to come
}

// came notes how many messages a round has brought.
func (c *crowd) came(n int) {
	if c.rounds = max(c.rounds-1, 0); n > 1 {
		c.rounds = crowdFor
	}
}

// looks tells whether to look in the next wait.
func (c *crowd) looks() bool {
	if c.sleeps > 0 {
		c.sleeps--
		return false
	}
	return true
}

// looked notes what a look has brought.
func (c *crowd) looked(found bool) {
	if found {
		c.empty = 0
		return
	}
	c.sleeps = max(c.sleeps, 1<<c.empty)
	c.empty = min(c.empty+1, pollSkip)
}
