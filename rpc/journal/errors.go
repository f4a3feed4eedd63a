package journal

import "errors"

// Errors of this package are told apart by errors.Is; their text names the file
// and what is wrong with it.
var (
	// ErrFull is returned for a record that does not fit any more. Nothing was
	// written; the journal is as good as before.
	ErrFull = errors.New("journal is full")
	// ErrTooLarge is returned for a record that would not fit into an empty journal
	// either, or is longer than an eighth of it.
	ErrTooLarge = errors.New("record is too large")
	// ErrLocked says that the file is open already, here or in another process.
	ErrLocked = errors.New("journal is in use")
	// ErrForeign says that the file is not a journal.
	ErrForeign = errors.New("not a journal")
	// ErrVersion says that the file has a format that this program does not know.
	ErrVersion = errors.New("unknown version of the format")
	// ErrCorrupt says that the file does not hold what was written to it.
	ErrCorrupt = errors.New("journal is damaged")
	// ErrLost says that records may be missing that were appended, because the
	// machine was restarted, or its disk failed, before it had them on disk.
	ErrLost = errors.New("records may be lost")
	// ErrBroken is returned for everything after the file could not be accessed once.
	ErrBroken = errors.New("journal is broken")
	// ErrClosed is returned for everything after Close.
	ErrClosed = errors.New("journal is closed")
)
