package misbehave

import (
	"fmt"
	"os"
	"time"

	worker "rpcpool.dev/workers/go"
)

// LeftBehindFor is how long processes that a function leaves behind live at
// most.
const LeftBehindFor = 10 * time.Minute

// Register adds the functions to s.
//
// Some functions start this program again to have processes to leave behind.
// In such a process Register does not return: whoever calls it, in main or in
// a TestMain, needs to know nothing of this.
func Register(s *worker.Server) error {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(leftBehind(role))
	}
	for name, fn := range merge(computing(), looking(), misbehaving()) {
		if err := s.Register(name, fn); err != nil {
			return fmt.Errorf("test functions: %w", err)
		}
	}
	return nil
}

func merge(sets ...map[string]any) map[string]any {
	all := make(map[string]any)
	for _, set := range sets {
		for name, fn := range set {
			all[name] = fn
		}
	}
	return all
}

func computing() map[string]any {
	return map[string]any{
		"test.echo":   func(x any) any { return x },
		"test.addone": func(i int64) int64 { return i + 1 },
		"test.strcat": func(a, b string) string { return a + b },
		"test.silent": silent,
		"test.sleep":  func(seconds float64) { time.Sleep(time.Duration(seconds * float64(time.Second))) },
	}
}

// silent promises a heartbeat and sends none: it hangs where a supervisor counts
// on hearing from it.
func silent(s *worker.Session) {
	s.Beat()
	const ever = 1<<63 - 1
	time.Sleep(ever)
}
