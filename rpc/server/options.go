package server

import (
	"context"
	"log/slog"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// Options of a Core. The zero value of each field means its default.
type Options struct {
	Domain     session.DomainOptions // Journal is filled in
	Journal    Journal               // nil: none, the table dies with the process
	Sync       bool                  // what follows a record waits until the journal's disk has it
	ID         session.ID            // of the table: the journal's, or random
	Life       uint64                // of the table: the journal's, or random
	Limit      int                   // calls that run at once. Default 1024; -1: none, before the executor says so with [Core.Grow]
	Queue      int                   // calls that wait. Default 4096
	QueueBytes int                   // of their arguments. Default 256 MiB
	Standing   time.Duration         // how long interactive calls may wait one and all before some are refused. Default 100 ms; negative: for ever
	MaxTimeout time.Duration         // of calls, also of those that say none. Default: none
	NoticeAt   time.Duration         // clients are told that a call runs after it has for so long. Default 50 ms
	Blobs      Host                  // of calls. Default: none, all bytes are in messages
	LongBlob   uint64                // from which length on arguments and results had better be in them, bytes. Default 64 KiB
	QuickApart time.Duration         // a run in another process is quick if it takes no longer: see [Job.Await]. Default 500 µs
	Apart      bool                  // calls run in other processes, which they may kill
	Allow      Allow                 // what clients may call. Default: everything
	Open       bool                  // methods that were not registered are given to the executor, too
	Context    context.Context       //nolint:containedctx // handlers find its values in theirs. Default: Background
	Log        *slog.Logger          // default: none
	Room       *conn.Room            // the executor's, for results: clients that do not read are closed while it is wanted. Default: none
	ReadAfter  time.Duration         // for a client to read anything then, see [Debt]. Default 20 s
	Clock      func() time.Duration  // monotonic. Default: the time since the core was made
}

// Longest is how long a call of a method may take from its arrival on; 0: as long as it takes. method may be nil.
func (c *Core) Longest(method *Method) time.Duration {
	most := c.opts.MaxTimeout
	if method != nil && method.Timeout > 0 && (most == 0 || method.Timeout < most) {
		most = method.Timeout
	}
	return most
}
