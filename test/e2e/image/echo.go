//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/test/e2e/image/echo"
)

func echoCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags := newFlags("echo")
	var plan echo.Plan
	flags.StringVar(&plan.Tracker, "tracker", "", "")
	flags.StringVar(&plan.Service, "service", "", "")
	flags.IntVar(&plan.Bytes, "bytes", 1<<20, "")
	flags.IntVar(&plan.Calls, "calls", 1, "")
	timeout := flags.Duration("timeout", time.Minute, "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	if plan.Tracker == "" || plan.Service == "" || plan.Bytes < 0 {
		return fmt.Errorf("echo: --tracker and --service are missing, or --bytes is negative: %w", errUsage)
	}
	ctx, stop := context.WithTimeout(ctx, *timeout)
	defer stop()
	return echo.Run(ctx, plan, stdout) //nolint:wrapcheck // says what it could not do
}
