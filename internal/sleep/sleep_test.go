package sleep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepIsAsLongAsWasSaidUnlessAnEndComesFirst(t *testing.T) {
	for name, c := range map[string]struct {
		d, end time.Duration // end: when it comes; 0: it was there before; negative: never
		want   bool
		slept  time.Duration
	}{
		"nobody ends it":                     {time.Second, -1, true, time.Second},
		"an end that comes later":            {time.Second, time.Minute, true, time.Second},
		"an end that comes first":            {time.Hour, time.Minute, false, time.Minute},
		"an end that was there before":       {time.Hour, 0, false, 0},
		"no time":                            {0, -1, true, 0},
		"a time that is over":                {-time.Second, time.Minute, true, 0},
		"no time, after the end":             {0, 0, false, 0},
		"a time that is over, after the end": {-time.Hour, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				switch {
				case c.end == 0:
					cancel()
				case c.end > 0:
					defer time.AfterFunc(c.end, cancel).Stop()
				}
				began := time.Now()
				if got := For(c.d, ctx.Done()); got != c.want || time.Since(began) != c.slept {
					t.Errorf("%t after %s, want %t after %s", got, time.Since(began), c.want, c.slept)
				}
			})
		})
	}
}
