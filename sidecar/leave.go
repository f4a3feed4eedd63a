package sidecar

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// leave is for when the agent is told to stop, by which a pod's end begins: nothing
// is offered until another agent comes. The agent gives a session the drain time
// from now on. Of a server that has drained before, this is too much, and more than
// its pod is given to end: it has what is left of that time.
func (c *core) leave() {
	c.leaving = true
	s := c.current
	if s == nil || s.probe != nil || c.options.DrainingFile == "" {
		return
	}
	since, err := drainingSince(c.options.DrainingFile)
	switch {
	case err != nil:
		c.options.Logger.Warn("not known since when the server drains", "error", err)
	case !since.IsZero():
		s.drainAt = since.Add(c.options.DrainTimeout)
		c.options.Logger.Info("draining", "session", s.id, "since", since, "at_most", c.options.DrainTimeout)
	}
}

// drainingSince reads [Options.DrainingFile]; zero: the server does not drain.
func drainingSince(file string) (time.Time, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return time.Time{}, err //nolint:wrapcheck // names the file
	}
	line := strings.TrimSpace(string(text))
	if line == "" {
		return time.Time{}, nil
	}
	since, err := time.Parse(time.RFC3339, line)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", file, err)
	}
	return since, nil
}
