package plan

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// listed is how many names a list of pods has at most.
	listed = 3
	// maxMessage is the longest message, in bytes: an event can hold 1 KiB.
	maxMessage = 1000
)

// list names the first members: "a, b, c and 7 more".
func list(members []*member, name func(*member) string) string {
	var b strings.Builder
	for i, m := range members {
		switch {
		case i == listed:
			fmt.Fprintf(&b, " and %d more", len(members)-listed)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(name(m))
	}
	return b.String()
}

func podName(m *member) string { return m.Name }

// listProblems names pods and what is wrong with them, if that is known; those of which
// it is the same together: "a: no image, b, c, d and 7 more: crash".
func listProblems(members []*member) string {
	var groups [][]*member
	at := map[string]int{}
	for _, m := range members {
		problem := m.problem()
		if i, known := at[problem]; known && problem != "" {
			groups[i] = append(groups[i], m)
			continue
		}
		at[problem] = len(groups)
		groups = append(groups, []*member{m})
	}
	var parts []string
	rest := len(members)
	for _, same := range groups[:min(len(groups), listed)] {
		part := list(same, podName)
		if problem := same[0].problem(); problem != "" {
			part += ": " + problem
		}
		parts = append(parts, part)
		rest -= len(same)
	}
	if rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(parts, ", "), rest)
	}
	return strings.Join(parts, ", ")
}

// problem is what is wrong with a pod; empty: nothing is known.
func (m *member) problem() string {
	switch {
	case m.Problem != "":
		return m.Problem
	case m.NodeGone:
		return "its node " + m.Node + " does not exist any more"
	case m.NodeNotReady:
		return "its node " + m.Node + " is not ready"
	case m.NodeCordoned:
		return "its node " + m.Node + " is cordoned"
	case m.Server != nil:
		return m.Server.Reason
	default:
		return ""
	}
}

// clip shortens a message that is too long.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	const more = "…"
	cut := maxMessage - len(more)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// clock is how a time is written.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// plural is the word for n things: "1 server", "2 servers".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
