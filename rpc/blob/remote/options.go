package remote

import (
	"log/slog"
	"time"
)

// ServerOptions of a Server. Zero values are defaults.
type ServerOptions struct {
	Patience   time.Duration // for a frame to come or go, and for the first one. Default 20 s
	Conns      int           // of one party. Default 16
	Transfers  int           // of one party that have not ended, or of which it has not heard so. Default 64
	References int           // of one party. Default 4096
	Mover      Mover         // default: none
	Log        *slog.Logger  // default: none

	now func() time.Duration // for tests; default: the monotonic clock
}
