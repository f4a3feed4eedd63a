package workers

import (
	"testing"
	"time"
)

func TestAClockIsSharedThatShowsWhatIsShownHere(t *testing.T) {
	for name, tc := range map[string]struct {
		from, at, to time.Duration
		want         bool
	}{
		"between":            {10, 15, 20, true},
		"at the same time":   {10, 10, 10, true},
		"not said":           {10, 0, 20, false},
		"no clock here":      {0, 0, 0, false},
		"behind":             {10 * time.Hour, 9 * time.Hour, 10*time.Hour + time.Second, false},
		"of a later boot":    {10 * time.Hour, time.Second, 10*time.Hour + time.Second, false},
		"ahead":              {10, 21, 20, false},
		"of another machine": {10, 1 << 62, 20, false},
	} {
		if got := shares(tc.from, tc.at, tc.to); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
