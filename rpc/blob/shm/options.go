package shm

import (
	"log/slog"
	"time"

	"rpcpool.dev/rpc/blob"
)

// Options are what a host starts with. Zero values are defaults.
type Options struct {
	Limits    blob.Limits
	Segment   uint64 // see blob.Config
	Idle      time.Duration
	Grace     time.Duration
	Tickets   bool // who connects must show a ticket of [Host.Ticket]; default: only the socket's permissions count
	HugePages bool // segments of 2 MiB pages, as long as the system has some, where no other process may write: see the package
	// LetGo is called before a segment is given back, to take it away from devices that
	// have it. If it fails, the segment is never given back. Default: there are none.
	LetGo  func(segment []byte) error
	Logger *slog.Logger // default: slog.Default
}

// Payer says at whose cost a result of a call is made that runs at a party now. It is called
// with the host's lock.
type Payer func(callee blob.PartyID, call blob.Call, size uint64) (account blob.Handle, err error)
