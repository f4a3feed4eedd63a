//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"rpcpool.dev/test/e2e/image/visit"
)

func visitCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags := newFlags("visit")
	var plan visit.Plan
	flags.StringVar(&plan.Tracker, "tracker", "", "")
	flags.StringVar(&plan.Key, "key", "", "")
	flags.StringVar(&plan.Call, "call", "test.sleep", "")
	flags.DurationVar(&plan.Timeout, "timeout", 0, "")
	flags.BoolVar(&plan.Repeat, "repeat", false, "")
	holds := flags.String("hold", "0s", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	for text := range strings.SplitSeq(*holds, ",") {
		hold, err := time.ParseDuration(text)
		if err != nil || hold < 0 {
			return fmt.Errorf("visit: --hold %q is no list of durations: %w", *holds, errUsage)
		}
		plan.Holds = append(plan.Holds, hold)
	}
	if plan.Tracker == "" || plan.Key == "" {
		return fmt.Errorf("visit: --tracker and --key are missing: %w", errUsage)
	}
	return visit.Run(ctx, plan, stdout) //nolint:wrapcheck // says what it could not do
}
