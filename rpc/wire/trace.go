package wire

import (
	"context"
	"encoding/hex"
	"strings"

	"rpcpool.dev/rpc/frame"
)

// TraceKey is the key of a context's trace context, as frames have it: [frame.TraceLen] bytes.
type TraceKey struct{}

// TraceOf returns a context's trace context; nil: it has none.
func TraceOf(ctx context.Context) []byte {
	t, _ := ctx.Value(TraceKey{}).([]byte)
	return t
}

// ParseTrace reads a W3C traceparent, which is VERSION-TRACE-PARENT-FLAGS in hexadecimal. It
// returns nil if it is none.
func ParseTrace(traceparent string) []byte {
	part := strings.Split(traceparent, "-")
	if len(part) < 4 || len(part[0]) != 2 || part[0] == "ff" || len(part[1]) != 32 || len(part[2]) != 16 {
		return nil
	}
	trace, err := hex.DecodeString(part[1] + part[2] + part[3])
	if err != nil || len(trace) != frame.TraceLen {
		return nil
	}
	return trace
}

// FormatTrace is the W3C traceparent of a trace context; empty if there is none.
func FormatTrace(trace []byte) string {
	if len(trace) != frame.TraceLen {
		return ""
	}
	t := hex.EncodeToString(trace)
	return "00-" + t[:32] + "-" + t[32:48] + "-" + t[48:]
}
