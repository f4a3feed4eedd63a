//go:build !linux

package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/frame"
)

// Options of a Host.
type Options struct {
	shm.Options
	Socket string
	Far    remote.ServerOptions
}

// Host is a host of blobs, on Linux.
type Host struct{}

// New fails: what makes a host's promises true exists on Linux only.
func New(Options) (*Host, error) {
	return nil, fmt.Errorf("blobs on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Begin, and all that follows, is not called.
func (*Host) Begin(blob.Call, blob.PartyID, []blob.Arg) ([]blob.Arg, error) {
	return nil, errors.ErrUnsupported
}

func (*Host) End(blob.Call, blob.Outcome, []blob.Handle) (blob.Ended, error) {
	return blob.Ended{}, errors.ErrUnsupported
}

func (*Host) Room(blob.Call, blob.PartyID, blob.Handle, uint64) (blob.Arg, error) {
	return blob.Arg{}, errors.ErrUnsupported
}
func (*Host) Look(blob.Arg, func([]byte))                 {}
func (*Host) Discard(blob.Handle)                         {}
func (*Host) Leave(blob.PartyID)                          {}
func (*Host) OnResult(shm.Payer)                          {}
func (*Host) Counts() blob.Snapshot                       { return blob.Snapshot{} }
func (*Host) Snapshot() blob.Snapshot                     { return blob.Snapshot{} }
func (*Host) Offer(string) (frame.BlobOffer, func())      { return frame.BlobOffer{}, func() {} }
func (*Host) Pair(string) (blob.PartyID, *os.File, error) { return 0, nil, errors.ErrUnsupported }
func (*Host) Callee(string) (Callee, error)               { return Callee{}, errors.ErrUnsupported }
func (*Host) Bulk(context.Context, net.Conn, frame.Hello) {}
func (*Host) Moved() remote.Moved                         { return remote.Moved{} }
func (*Host) Close() error                                { return nil }

// Callee is a party that handles calls.
type Callee struct{}

// Attach fails.
func Attach(uintptr) (Callee, error) { return Callee{}, errors.ErrUnsupported }

func (Callee) Party() blob.PartyID { return 0 }
func (Callee) Argument(blob.Call, blob.Arg) (blob.View, error) {
	return nil, errors.ErrUnsupported
}
func (Callee) Result(blob.Call, uint64) (blob.Arg, blob.View, error) {
	return blob.Arg{}, nil, errors.ErrUnsupported
}
func (Callee) Close() error { return nil }

// Join leads nowhere.
func Join(int) client.JoinBlobs {
	return func(context.Context, *client.BlobServer) (client.Blobs, error) { return nil, client.ErrNoBlobs }
}
