package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// secondSignalGrace is how long after the first signal another one means the
// same. Who signals a process and its group, as timeout(1) and some service
// managers do, delivers it twice; people take longer to become impatient.
const secondSignalGrace = time.Second

// afterFunc is time.AfterFunc, or a test's.
type afterFunc func(d time.Duration, f func())

// stopSignals returns a context that ends with the first SIGINT or SIGTERM.
// Others within [secondSignalGrace] of it are ignored, so that stopping stays
// orderly. A later one ends the process at once: by then the handlers are gone
// and the signal's default action is back.
func stopSignals(after afterFunc) (ctx context.Context, stop func()) {
	ctx, reset := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	forget := context.AfterFunc(ctx, func() { after(secondSignalGrace, reset) })
	return ctx, func() {
		forget()
		reset()
	}
}

// outliveBrokenPipes has the process go on, until it ends by itself, when
// nobody reads its output any more: a write there fails then, where Go's default
// is to die by SIGPIPE. (Ignoring the signal would do as well, but children
// would inherit that.)
func outliveBrokenPipes() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
