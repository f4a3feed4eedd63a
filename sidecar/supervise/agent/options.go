package agent

import (
	"errors"
	"log/slog"
	"time"
)

// Defaults for what a start command leaves at zero.
const (
	// DefaultMaxWorkers bounds the workers of an agent, of any state.
	DefaultMaxWorkers = 256
)

// WorkDirPrefix begins the name of every work directory; the worker's id
// follows. Everything in the work root that is named so is the agent's.
const WorkDirPrefix = "rpcpool-work-"

// Errors of [Run].
var (
	// ErrRunning: this process already runs an agent. Children and orphans
	// belong to a process as a whole, so two agents would kill each other's.
	ErrRunning = errors.New("an agent already runs in this process")
	// ErrWorkRootInUse: another agent holds the work root.
	ErrWorkRootInUse = errors.New("work root is in use by another agent")
	// ErrUnkillable: the agent stopped although processes of workers live on,
	// because they outlive SIGKILL.
	ErrUnkillable = errors.New("workers outlive SIGKILL")
)

// Options configures [Run]. Socket and WorkRoot are required.
type Options struct {
	// Socket is the path of the Unix socket (SOCK_SEQPACKET) on which the
	// sidecar connects. Its directory is made, with mode 0700, if it does not
	// exist; a stale socket is replaced. The socket's mode is 0660.
	Socket string
	// WorkRoot is the directory under which each worker gets its work
	// directory, [WorkDirPrefix] + its id. It is made if it does not exist.
	// Work directories that an earlier agent left are removed; nothing else in
	// it is touched.
	WorkRoot string
	// Command is the worker's program and arguments where a start command names
	// none. A program without a slash is looked up in the worker's PATH; a
	// relative path is relative to the agent's working directory, not to the
	// worker's.
	Command []string
	// NoCgroup leaves control groups alone even where they could be used.
	NoCgroup bool
	// DrainTimeout is how long sessions in progress may go on after Run's context
	// has ended; 0: they are killed at once.
	DrainTimeout time.Duration
	// CoreDir is where core dumps of workers are kept, the latest [maxCores] of
	// them; empty: they go with the work directory.
	CoreDir string
	// MaxWorkers bounds the workers of any state; 0: [DefaultMaxWorkers].
	MaxWorkers int
	// Logger gets the agent's own log; nil: none.
	Logger *slog.Logger
}

// withDefaults checks o and fills in what is left out.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Socket == "":
		return o, errors.New("agent options: no socket path")
	case o.WorkRoot == "":
		return o, errors.New("agent options: no work root")
	}
	if o.MaxWorkers <= 0 {
		o.MaxWorkers = DefaultMaxWorkers
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
