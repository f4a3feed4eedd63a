package server

import "errors"

// ErrClosed is why a server that was closed does nothing any more.
var ErrClosed = errors.New("server is closed")
