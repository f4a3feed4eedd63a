package frame

import "fmt"

// Reason says why a connection ends, or why a handshake is refused. The numbers
// are part of the wire.
type Reason uint16

// Reasons.
const (
	ReasonNone         Reason = iota // nothing is wrong
	ReasonShutdown                   // the peer stops
	ReasonIdle                       // nothing was outstanding for the idle timeout
	ReasonProtocol                   // malformed frame, or a frame that makes no sense now
	ReasonVersion                    // no version in common
	ReasonFeature                    // a required feature is missing
	ReasonFrameSize                  // frame longer than allowed
	ReasonMessageSize                // message longer than allowed
	ReasonUnknownType                // unknown frame type that is not optional
	ReasonUnknownExt                 // unknown extension that is critical
	ReasonChecksum                   // checksum does not fit
	ReasonFlowControl                // more sent than credited
	ReasonUnauthorised               // token or resume secret refused
	ReasonOverload                   // too many connections, sessions or bytes
	ReasonTimeout                    // handshake not in time, or peer silent
	ReasonSession                    // session unknown, expired, or call id reused
	reasons
)

var reasonNames = [reasons]string{
	"none", "shutdown", "idle", "protocol", "version", "feature", "frame-size", "message-size", "unknown-type",
	"unknown-extension", "checksum", "flow-control", "unauthorised", "overload", "timeout", "session",
}

// String returns the reason's word, as in metrics and logs.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint16(r))
}

// Error is what every decoder of this package fails with.
type Error struct {
	Reason Reason // to close the connection with
	Text   string // what was wrong with what
}

// Error implements error.
func (e *Error) Error() string { return e.Text + " (" + e.Reason.String() + ")" }

// Is makes errors with the same reason, and no text, equal to this one.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason && (t.Text == "" || t.Text == e.Text)
}

func errf(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Text: fmt.Sprintf(format, args...)}
}
