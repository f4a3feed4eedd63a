package blob

import (
	"errors"
	"fmt"
)

// Errors of this package are told apart by errors.Is; their text names the blob and
// what is wrong.
var (
	// ErrMalformed is returned for bytes that are no handle or no argument.
	ErrMalformed = errors.New("malformed")
	// ErrForged is returned for a handle that the table has not made.
	ErrForged = errors.New("handle is forged")
	// ErrDomain is returned for a handle of another table, or of an earlier life of it.
	ErrDomain = errors.New("handle is of another domain")
	// ErrGone is returned for a blob that is freed, or that its owner has let go.
	ErrGone = errors.New("blob is gone")
	// ErrRights is returned for what a handle, or the blob, does not permit.
	ErrRights = errors.New("no right")
	// ErrRange is returned for a range that is not within the handle's.
	ErrRange = errors.New("out of range")
	// ErrBusy is returned for bytes that somebody else writes, or that are to be
	// written while somebody else uses them. It may be asked for again later. The error
	// is a [*BusyError].
	ErrBusy = errors.New("blob is in use")
	// ErrDirty is returned for a blob that a call has left half written; its owner
	// has to Accept it first.
	ErrDirty = errors.New("blob was left half written")
	// ErrQuota is returned for what would exceed a limit. The error is a [*QuotaError].
	ErrQuota = errors.New("quota is exceeded")
	// ErrParty is returned for a party that is unknown, has left, or whose lease is over.
	ErrParty = errors.New("unknown party")
	// ErrCall is returned for a call that has no loan, or already has one.
	ErrCall = errors.New("no such loan")
)

// QuotaError says which limit was in the way. What has been refused may be asked for
// again when the party has freed something.
type QuotaError struct {
	Party string // whose limit; empty: of the table
	Unit  string // bytes, blobs, references or parties
	Have  uint64 // in use
	Want  uint64 // asked for
	Limit uint64
}

func (e *QuotaError) Error() string {
	who := "all parties"
	if e.Party != "" {
		who = fmt.Sprintf("%q", e.Party)
	}
	return fmt.Sprintf("%v: %s use %d of %d %s, %d more are wanted", ErrQuota, who, e.Have, e.Limit, e.Unit, e.Want)
}

// Is makes errors.Is(err, ErrQuota) true.
func (*QuotaError) Is(target error) bool { return target == ErrQuota }

// BusyError says who is in the way.
type BusyError struct {
	Handle Handle // of the bytes that are wanted
	Mode   Mode   // how they are used
	Holder string // by whom
	Ending bool   // everybody who uses them is about to end
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%v: %v is used %v by %q", ErrBusy, e.Handle, e.Mode, e.Holder)
}

// Is makes errors.Is(err, ErrBusy) true.
func (*BusyError) Is(target error) bool { return target == ErrBusy }

// Need says that an operation needs a segment more. Whoever has the memory makes one,
// tells it to [Table.Grow], and does the same again. Nothing has changed meanwhile.
type Need struct {
	Bytes uint64 // of the segment

	group group
	whole bool
}

// For is whose blobs the segment is for, and what others may ever do with them.
func (n *Need) For() (owner PartyID, lend Rights) { return n.group.owner, n.group.lend }

func (n *Need) Error() string { return fmt.Sprintf("a segment of %d bytes is needed", n.Bytes) }
