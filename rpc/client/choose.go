package client

import (
	"math/rand/v2"
	"sort"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// choose returns the server for a call, nil if there is none. One that would have to be
// waited for is none.
func (c *Client) choose(now time.Duration, k *call) *peer {
	if id := k.user.Server; id != "" {
		if p := c.peers[id]; p != nil && !k.wasAt(p) && !p.session.Resting(now) {
			return p
		}
		return nil
	}
	var best *peer
	for rest := c.list; len(rest) > 0 && (best == nil || best.shunned(now)); {
		n := equallyNear(rest)
		best = k.best(now, rest[:n], best)
		rest = rest[n:]
	}
	return best
}

// equallyNear is how many of a list, the nearest first, are as near as the first.
func equallyNear(list []*peer) int {
	n := len(list)
	if list[n-1].near == list[0].near {
		return n
	}
	return sort.Search(n, func(i int) bool { return list[i].near > list[0].near })
}

// best returns the best server of some that are equally near, or one that was found before and is better.
func (k *call) best(now time.Duration, list []*peer, best *peer) *peer {
	n := len(list)
	first := rand.IntN(n) //nolint:gosec // spreads load, hides nothing
	looked := 0
	for i := range n {
		p := list[(first+i)%n]
		if k.wasAt(p) || p.session.Resting(now) {
			continue
		}
		if p.line == nil {
			p.front.Revive()
		}
		if best == nil || p.better(best, now) {
			best = p
		}
		if looked++; looked == 2 && n > 8 && !best.shunned(now) {
			break // two choices are nearly as good as all
		}
	}
	return best
}

func (k *call) wasAt(p *peer) bool {
	if p == k.avoid {
		return true
	}
	for _, q := range k.tried {
		if p == q {
			return true
		}
	}
	return false
}

// resting tells whether a server has failed a moment ago, or is going away.
func (p *peer) resting() bool {
	if p.line != nil {
		return p.line.away
	}
	return p.front.Resting()
}

const (
	// shunFirst is how long others are preferred to a server that has refused a call; twice as long each time
	// that it refuses the next one, up to shunMost.
	shunFirst = 100 * time.Millisecond
	shunMost  = 10 * time.Second
)

// ended notes how a call has ended at a server: it may have refused it, as it drains, or has too much to do. It refuses
// what it was sent before that is known, too, which says no more.
func (p *peer) ended(now time.Duration, o *session.Outcome) {
	switch {
	case o.Execution == session.Executed:
		p.shun, p.shunFor = 0, 0
	case o.Code == session.Refused && now >= p.shun:
		p.shunFor = min(max(2*p.shunFor, shunFirst), shunMost)
		p.shun = now + p.shunFor
	}
}

// welcomes tells whether there is a server for a call that has refused none a moment ago.
func (c *Client) welcomes(now time.Duration, k *call) bool {
	p := c.choose(now, k)
	return p != nil && !p.shunned(now)
}

// shunned tells whether a server is resting, or has refused a call a moment ago.
func (p *peer) shunned(now time.Duration) bool { return now < p.shun || p.resting() }

// better tells whether a call goes to p rather than to q.
func (p *peer) better(q *peer, now time.Duration) bool {
	if r := p.resting(); r != q.resting() {
		return !r
	}
	if s := now < p.shun; s != (now < q.shun) {
		return !s
	}
	if p.near != q.near {
		return p.near < q.near
	}
	return p.open < q.open
}

// nearness is how far a server is: in this process, on this node, elsewhere.
func nearness(node string, e *conn.Endpoint) int {
	switch {
	case e.Local != nil:
		return 0
	case e.Unix != "" && (e.Node == node || node == ""):
		return 1
	}
	return 2
}
