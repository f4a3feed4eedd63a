package agent

import (
	"io"
	"log/slog"
)

// LogOptions says how a log looks.
type LogOptions struct {
	JSON  bool       `json:"json,omitempty"` // else text
	Level slog.Level `json:"level"`          // the least that is logged
}

// Logger returns a logger that writes to w.
func (o LogOptions) Logger(w io.Writer) *slog.Logger {
	handler := &slog.HandlerOptions{Level: o.Level}
	if o.JSON {
		return slog.New(slog.NewJSONHandler(w, handler))
	}
	return slog.New(slog.NewTextHandler(w, handler))
}
