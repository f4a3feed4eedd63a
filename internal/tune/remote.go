package tune

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
	"rpcpool.dev/workers/go/matmul"
)

// deadlineGrace is how long after the session's deadline a client waits for the
// server to say so, before it gives the session up by itself.
const deadlineGrace = 10 * time.Second

// Remote is the pool behind a tracker.
type Remote struct {
	Tracker  string // host:port
	Key      string // device key
	Priority float64
	// Timeout is how long a session may last; the server enforces it.
	Timeout time.Duration
	// Size is n: the matrices are n×n.
	Size int
	// MinSeconds is how long to repeat a product, in seconds.
	MinSeconds float64
}

var float32Type = tvm.DataType{Code: tvm.DTypeFloat, Bits: 32, Lanes: 1}

// Open asks the tracker for a server, waits for it and opens a session.
func (r *Remote) Open(ctx context.Context) (Session, error) {
	s, err := client.Request(ctx, r.Tracker, r.Key, client.Options{Timeout: r.Timeout, Priority: r.Priority})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the key and the tracker
	}
	return &remoteSession{Session: s, pool: r, began: time.Now()}, nil
}

type remoteSession struct {
	*client.Session
	pool  *Remote
	began time.Time
}

// Measure implements [Session].
func (s *remoteSession) Measure(ctx context.Context, cfg matmul.Config) (matmul.Result, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	args := append([]any{int64(s.pool.Size)}, cfg.Args(s.pool.MinSeconds)...)
	return s.call(ctx, matmul.FuncRun, args)
}

// MeasureArrays implements [Session].
func (s *remoteSession) MeasureArrays(ctx context.Context, cfg matmul.Config, a, b []float32) (matmul.Result, []float32, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var arrays [3]*client.Array
	for i, operand := range [][]float32{a, b, make([]float32, s.pool.Size*s.pool.Size)} {
		var err error
		if arrays[i], err = s.upload(ctx, operand); err != nil {
			return matmul.Result{}, nil, s.failure(err)
		}
	}
	args := append([]any{arrays[0], arrays[1], arrays[2]}, cfg.Args(s.pool.MinSeconds)...)
	result, err := s.call(ctx, matmul.FuncArrays, args)
	if err != nil {
		return matmul.Result{}, nil, err
	}
	product, err := arrays[2].CopyTo(ctx)
	if err != nil {
		return matmul.Result{}, nil, s.failure(err)
	}
	return result, decodeFloats(product), nil
}

// bound adds the client's own end to the server's deadline.
func (s *remoteSession) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, s.began.Add(s.pool.Timeout+deadlineGrace))
}

func (s *remoteSession) upload(ctx context.Context, elements []float32) (*client.Array, error) {
	n := int64(s.pool.Size)
	a, err := s.NewArray(ctx, float32Type, n, n)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the operation
	}
	if err := a.CopyFrom(ctx, encodeFloats(elements)); err != nil {
		return nil, err //nolint:wrapcheck // it names the operation
	}
	return a, nil
}

func (s *remoteSession) call(ctx context.Context, name string, args []any) (matmul.Result, error) {
	reply, err := s.Call(ctx, name, args...)
	if err != nil {
		return matmul.Result{}, s.failure(err)
	}
	text, ok := reply.(string)
	if !ok {
		return matmul.Result{}, fmt.Errorf("%s returned a %T, want JSON text", name, reply)
	}
	var r matmul.Result
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return matmul.Result{}, fmt.Errorf("%s returned %.80q: %w", name, text, err)
	}
	return r, nil
}

// failure tells what an error means for the trial. Our servers say how a session
// ended; of others it has to be guessed from when the connection broke.
func (s *remoteSession) failure(err error) error {
	outcome := OutcomeError
	remote := &client.RemoteError{}
	switch {
	case errors.Is(err, client.ErrSessionTimeout), errors.Is(err, context.DeadlineExceeded):
		outcome = OutcomeTimeout
	case errors.As(err, &remote):
		outcome = outcomeOfCause(remote.Text)
	case errors.Is(err, client.ErrSessionLost):
		outcome = OutcomeCrash
		if limit := s.pool.Timeout; limit > 0 && time.Since(s.began) >= limit*95/100 {
			outcome = OutcomeTimeout
		}
	}
	return &Failure{Outcome: outcome, Err: err}
}

// outcomeOfCause reads the cause that the text of a supervisor's exception
// begins with. An exception of the function's own has none.
func outcomeOfCause(text string) Outcome {
	cause, _, _ := strings.Cut(text, ":")
	switch supervise.Cause(cause) {
	case supervise.CauseCrashSignal, supervise.CauseCrashExit, supervise.CauseOOM:
		return OutcomeCrash
	case supervise.CauseTimeout:
		return OutcomeTimeout
	default:
		return OutcomeError
	}
}

func encodeFloats(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func decodeFloats(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}
