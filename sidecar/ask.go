package sidecar

import "time"

// askEvery is the silence after which an agent is asked whether it lives: one that
// has nothing to do does not show it.
const askEvery = 5 * time.Second

// asking knows whether an idle agent is to be asked, and whether it owes an
// answer for too long. An agent that is found out by that costs no session; one
// that has a session is found out by takeTime, or by the session's deadline.
type asking struct {
	every, within time.Duration
	heard         time.Time // the agent's last word
	asked         time.Time // since when it owes an answer; zero: it does not
}

// hear notes a word of the agent, whatever it is.
func (a *asking) hear(now time.Time) { a.heard, a.asked = now, time.Time{} }

// due tells what is to be done about an agent that is idle now.
func (a *asking) due(now time.Time) (ask, hung bool) {
	if !a.asked.IsZero() {
		return false, now.Sub(a.asked) >= a.within
	}
	return now.Sub(a.heard) >= a.every, false
}

// next is when due will say something else, if the agent says nothing.
func (a *asking) next() time.Time {
	if !a.asked.IsZero() {
		return a.asked.Add(a.within)
	}
	return a.heard.Add(a.every)
}

// askAgent asks an idle agent whether it is there, and gives it up if it has not
// said so in time.
func (c *core) askAgent(now time.Time) {
	if c.link == nil || c.current != nil {
		return
	}
	switch ask, hung := c.asking.due(now); {
	case hung:
		c.asking.hear(now) // the end of the link comes in a moment
		c.giveUpAgent("")
	case ask:
		c.asking.asked = now
		_ = c.link.Ping() // a link that has ended says so itself
	}
}
