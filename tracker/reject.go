package tracker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// reason says why a peer was rejected. The words are those of the metric.
type reason uint8

const (
	rejectConnLimit reason = iota
	rejectBadMagic
	rejectHandshakeTimeout
	rejectFrameLength
	rejectFrameTimeout
	rejectBadMessage
	rejectUnknownCode
	rejectMemory
	rejectSlowReader
	rejectReasons // how many there are
)

func (r reason) String() string {
	return [...]string{
		"connection-limit", "bad-magic", "handshake-timeout", "frame-length", "frame-timeout",
		"bad-message", "unknown-code", "memory-limit", "slow-reader",
	}[r]
}

// rejection is an error of the peer's, after which its connection is closed.
type rejection struct {
	reason reason
	err    error
}

func (e *rejection) Error() string { return e.reason.String() + ": " + e.err.Error() }
func (e *rejection) Unwrap() error { return e.err }

func reject(r reason, err error) error { return &rejection{r, err} }

// rejectionsPerSecond bounds what bad peers can write into the log.
const rejectionsPerSecond = 10

// rejectionLog logs rejections, a few of them a second; it says how many it
// left out.
type rejectionLog struct {
	log *slog.Logger

	mu      sync.Mutex
	second  time.Time
	logged  int
	omitted int
}

func (l *rejectionLog) add(now time.Time, peer string, e *rejection) {
	l.mu.Lock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.logged = now, 0
	}
	l.logged++
	if l.logged > rejectionsPerSecond {
		l.omitted++
		l.mu.Unlock()
		return
	}
	omitted := l.omitted
	l.omitted = 0
	l.mu.Unlock()
	attrs := []slog.Attr{slog.String("peer", peer), slog.String("reason", e.reason.String()), slog.Any("error", e.err)}
	if omitted > 0 {
		attrs = append(attrs, slog.Int("omitted_before", omitted))
	}
	l.log.LogAttrs(context.Background(), slog.LevelWarn, "peer rejected", attrs...)
}
