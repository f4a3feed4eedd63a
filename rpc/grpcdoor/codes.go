package grpcdoor

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// grpcCodes says which code of gRPC goes with an outcome. Only what may be tried again
// as it is, or under another seq, is UNAVAILABLE: that is what clients' retry policies
// go by.
//
//nolint:gochecknoglobals // a table
var grpcCodes = map[pb.Code]codes.Code{
	pb.Code_CODE_OK:                codes.OK,
	pb.Code_CODE_FAILED:            codes.Unknown,
	pb.Code_CODE_DEADLINE_EXCEEDED: codes.DeadlineExceeded,
	pb.Code_CODE_CANCELED:          codes.Canceled,
	pb.Code_CODE_CRASHED:           codes.Internal,
	pb.Code_CODE_POISONED:          codes.FailedPrecondition,
	pb.Code_CODE_REFUSED:           codes.Unavailable,
	pb.Code_CODE_NO_SERVER:         codes.Unavailable,
	pb.Code_CODE_LOST:              codes.Aborted,
	pb.Code_CODE_EXPIRED:           codes.NotFound,
	pb.Code_CODE_REPLY_LOST:        codes.DataLoss,
	pb.Code_CODE_UNIMPLEMENTED:     codes.Unimplemented,
	pb.Code_CODE_INVALID:           codes.InvalidArgument,
	pb.Code_CODE_DENIED:            codes.PermissionDenied,
	pb.Code_CODE_CLOSED:            codes.FailedPrecondition,
	pb.Code_CODE_MISUSED:           codes.FailedPrecondition,
}

// answer is what has come of an RPC's question.
type answer struct {
	code      pb.Code
	execution session.Execution
	body      []byte         // the result, or an error as [wire.Failure] has made it
	memory    session.Memory // that body is in, for as long as an RPC is at the line; nil: that is nobody's
	open      bool           // the RPC has ended before there was an answer
}

// failed makes the answer of a door that has found out for itself.
func failed(code pb.Code, execution session.Execution, text string) answer {
	return answer{code: code, execution: execution, body: wire.Failure(0, text, nil)}
}

// Answers to those whose session has no answer. That a call did not run, the door does
// not know: it may have been sent before.
var (
	expired = failed(pb.Code_CODE_EXPIRED, session.Indeterminate, "session is not known here, or is not yours")                             //nolint:gochecknoglobals // constant
	full    = answer{code: pb.Code_CODE_REFUSED, execution: session.NotExecuted, body: wire.Failure(time.Second, "too many sessions", nil)} //nolint:gochecknoglobals // constant
	closed  = failed(pb.Code_CODE_CLOSED, session.Indeterminate, "call was closed by an ack or a fence before")                             //nolint:gochecknoglobals // constant
)

func misused(text string) answer { return failed(pb.Code_CODE_MISUSED, session.Indeterminate, text) }

func invalid(text string) answer { return failed(pb.Code_CODE_INVALID, session.NotExecuted, text) }

// codeOf returns the code on the wire: they have the same numbers. No call of this door needs
// the results of others, so none is Unmet.
func codeOf(c session.Code) pb.Code {
	if c == session.Unmet {
		return pb.Code_CODE_INVALID
	}
	return pb.Code(c)
}

// failure is what a client is told of an answer that is an error.
func (a *answer) failure(k key) *pb.Failure {
	retry, text, detail := wire.ParseFailure(a.body)
	f := &pb.Failure{Code: a.code, Execution: pb.Execution(a.execution), Text: text, Detail: detail}
	if retry != 0 {
		f.RetryAfter = durationpb.New(retry)
	}
	if k.seq != 0 {
		f.Xid = session.XID{Session: k.session, Seq: k.seq}.String()
	}
	return f
}

// detailMost is how many bytes of a detail go into a status: clients bound their trailers
// by 8 KiB, with the text in it three times, and base64.
const detailMost = 1024

// status makes the error of an RPC. One without a Failure says nothing of the call, as gRPC's
// own: the client asks again.
func (a *answer) status(k key) error {
	f := a.failure(k)
	if a.open {
		return status.Error(grpcCodes[a.code], f.GetText()) //nolint:wrapcheck // it is for the client
	}
	if n := len(f.Detail); n > detailMost {
		f.Detail, f.DetailCut = f.Detail[:detailMost], uint32(n-detailMost)
	}
	text := f.GetText()
	if text == "" {
		text = session.Code(a.code).String()
	}
	s := status.New(grpcCodes[a.code], text)
	if with, err := s.WithDetails(f); err == nil {
		s = with
	}
	return s.Err() //nolint:wrapcheck // it is for the client
}
