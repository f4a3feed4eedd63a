package client

import (
	"fmt"
	"time"
)

// IdleTimeoutFromEnv returns how long connections may be idle, for
// the IdleTimeout of a pool: what RPC_IDLE_TIMEOUT says, or else its other name
// XOSCAR_IDLE_TIMEOUT, or else 30 s. It is a number of seconds, or a duration such as
// 1m30s. 0 is never, which is negative here, as a pool wants it. lookup is os.LookupEnv.
func IdleTimeoutFromEnv(lookup func(string) (string, bool)) (time.Duration, error) {
	for _, name := range []string{"RPC_IDLE_TIMEOUT", "XOSCAR_IDLE_TIMEOUT"} {
		text, ok := lookup(name)
		if !ok || text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			d, err = time.ParseDuration(text + "s")
		}
		switch {
		case err != nil || d < 0:
			return 0, fmt.Errorf("%s=%q: want seconds or a duration such as 1m30s, 0 for never", name, text)
		case d == 0:
			return -1, nil
		}
		return d, nil
	}
	return 30 * time.Second, nil
}
