package rdma

import (
	"context"
	"errors"
	"fmt"

	"rpcpool.dev/rpc/rdma/verbs"
)

// ErrNoRDMA is [verbs.ErrNoRDMA]: there is no RDMA in this program, or on this machine.
var ErrNoRDMA = verbs.ErrNoRDMA

// ErrStuck is returned when a device could not be stopped: it may write to the memory
// for ever.
var ErrStuck = errors.New("the device may still write: this memory must not be used again")

// ErrInUse is returned for closing what others still use.
var ErrInUse = errors.New("still in use")

// Reason is why something does not go by RDMA. The set is closed: the same words are
// in errors, metrics and documents.
type Reason string

// All reasons.
const (
	// NoRDMA: this program or this machine has none.
	NoRDMA Reason = "no-rdma"
	// NoDevice: the device is not there or cannot be opened.
	NoDevice Reason = "no-device"
	// NoGID: the device has no address in the network that could be used.
	NoGID Reason = "no-gid"
	// GIDMoved: the address was another one when the endpoint was connected.
	GIDMoved Reason = "gid-moved"
	// PortDown: the port is not active.
	PortDown Reason = "port-down"
	// Memlock: the process may not pin so much memory.
	Memlock Reason = "memlock"
	// NoMemory: memory cannot be registered, for any other cause.
	NoMemory Reason = "no-memory"
	// NoQueue: a queue pair cannot be made or connected.
	NoQueue Reason = "no-queue"
	// Malformed: an offer or a descriptor is none, or has nothing to do with this endpoint.
	Malformed Reason = "malformed"
	// OutOfRange: the bytes do not fit, or are not within the memory.
	OutOfRange Reason = "out-of-range"
	// Refused: the peer's device does not let that memory be read. It is deregistered,
	// the range is beyond its end, or the key is wrong.
	Refused Reason = "refused"
	// PeerFault: the peer's device could not do it.
	PeerFault Reason = "peer-fault"
	// Silent: the peer does not answer. It is dead, or the network between is.
	Silent Reason = "silent"
	// NotReady: the peer's queue pair is not ready.
	NotReady Reason = "not-ready"
	// LocalFault: the own device refuses what it was asked.
	LocalFault Reason = "local-fault"
	// Flushed: something else has broken the queue pair.
	Flushed Reason = "flushed"
	// DeviceFault: the own device is broken.
	DeviceFault Reason = "device-fault"
	// Stalled: nothing completes.
	Stalled Reason = "stalled"
	// Cancelled: the context has ended.
	Cancelled Reason = "cancelled"
	// Closed: the endpoint is closed, or was never connected.
	Closed Reason = "closed"
	// Stuck: see [ErrStuck].
	Stuck Reason = "stuck"
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		NoRDMA, NoDevice, NoGID, GIDMoved, PortDown, Memlock, NoMemory, NoQueue, Malformed, OutOfRange,
		Refused, PeerFault, Silent, NotReady, LocalFault, Flushed, DeviceFault, Stalled, Cancelled, Closed, Stuck,
	}
}

// reasonOf is what a completion's status means.
func reasonOf(s verbs.Status) Reason {
	switch s {
	case verbs.RemoteAccess, verbs.RemoteRequest, verbs.RemoteDomain:
		return Refused
	case verbs.RemoteOperation, verbs.RemoteAbort, verbs.BadResponse:
		return PeerFault
	case verbs.RetriesExceeded, verbs.ResponseTimeout:
		return Silent
	case verbs.ReceiverRetriesExceeded:
		return NotReady
	case verbs.Flushed:
		return Flushed
	case verbs.LocalLength, verbs.LocalQueue, verbs.LocalContext, verbs.LocalProtection, verbs.LocalAccess, verbs.LocalDomain,
		verbs.WindowBind, verbs.ContextNumber, verbs.ContextState, verbs.TagMatching, verbs.TagRendezvous:
		return LocalFault
	}
	return DeviceFault
}

// Error is every error of this package.
type Error struct {
	Reason Reason
	Status verbs.Status // of the completion; Success: it was none
	Vendor uint32       // the device maker's word for that status
	Err    error        // what else is known
}

func (e *Error) Error() string {
	switch {
	case e.Status != verbs.Success:
		return fmt.Sprintf("rdma: %s: %v (vendor's code %#x)", e.Reason, e.Status, e.Vendor)
	case e.Err != nil:
		return fmt.Sprintf("rdma: %s: %v", e.Reason, e.Err)
	}
	return "rdma: " + string(e.Reason)
}

func (e *Error) Unwrap() error { return e.Err }

func failure(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

// ReasonOf is the reason of an error of this package; of others, it is DeviceFault.
func ReasonOf(err error) Reason {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Reason
	case errors.Is(err, ErrNoRDMA):
		return NoRDMA
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Cancelled
	}
	return DeviceFault
}
