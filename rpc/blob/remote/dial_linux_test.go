package remote

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestAMachineThatIsGoneIsGivenUp: nothing answers, not even to say no.
func TestAMachineThatIsGoneIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, err := Dial(t.Context(), Options{Dial: func(ctx context.Context) (net.Conn, error) {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(127 * time.Second): // as TCP has patience
				return nil, errors.New("connection timed out")
			}
		}})
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took != dialPatience {
			t.Errorf("%v after %v", err, took)
		}
	})
}
