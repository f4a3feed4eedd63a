package worker

import (
	"io"
	"time"
)

// Bounds of [linger].
const (
	lingerTime = time.Second
	lingerIdle = 50 * time.Millisecond // without a byte from the client
)

// linger lets the client read the exception that ends its session. A socket
// that is closed with unread bytes resets the connection, which throws away
// what has not reached the client yet; so the rest of what it is sending is
// read, for a bounded time.
func linger(conn any) {
	half, ok := conn.(interface {
		io.Reader
		CloseWrite() error
		SetReadDeadline(t time.Time) error
	})
	if !ok || half.CloseWrite() != nil {
		return
	}
	buf := make([]byte, window)
	for end := time.Now().Add(lingerTime); ; {
		now := time.Now()
		if !now.Before(end) || half.SetReadDeadline(now.Add(lingerIdle)) != nil {
			return
		}
		if _, err := half.Read(buf); err != nil {
			return
		}
	}
}
