package journal

import (
	"errors"
	"fmt"
)

// OpenAnyway is [Open] for owners that go on without what a file held: one that is
// damaged, incomplete or foreign is set aside, and a new journal made. lost says why,
// and where the file is; it is nil if nothing is lost. Who knew the old journal learns
// by the new one's [Journal.ID] that it is gone.
func OpenAnyway(path string, opt Options) (j *Journal, lost, err error) {
	j, err = Open(path, opt)
	bad := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrLost) || errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion)
	if !bad {
		return j, nil, err
	}
	aside, sideErr := SetAside(path)
	if sideErr != nil {
		return nil, nil, errors.Join(err, sideErr)
	}
	lost = fmt.Errorf("%w; it is now %s", err, aside)
	j, err = Open(path, opt)
	return j, lost, err
}
