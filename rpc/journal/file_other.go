//go:build !linux

package journal

import "errors"

// file is not there: what a journal promises rests on Linux's page cache, locks
// and allocation.
type file struct{ image []byte }

func openFile(string, int64) (*file, error) { return nil, errors.ErrUnsupported }

func (*file) has(uintptr) bool { return false }
func (*file) sync() error      { return errors.ErrUnsupported }
func (*file) close() error     { return nil }

func bootID() BootID { return BootID{} }

// SetAside is not supported here.
func SetAside(string) (string, error) { return "", errors.ErrUnsupported }
