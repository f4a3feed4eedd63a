package tune

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/workers/go/matmul"
)

// Outcome says how a trial ended. The set is closed.
type Outcome string

// All outcomes.
const (
	// OutcomeOK: measured, and the result is right.
	OutcomeOK Outcome = "ok"
	// OutcomeWrong: measured, but the product is wrong.
	OutcomeWrong Outcome = "wrong-result"
	// OutcomeCrash: the worker died.
	OutcomeCrash Outcome = "crash"
	// OutcomeTimeout: the session was killed at its deadline.
	OutcomeTimeout Outcome = "timeout"
	// OutcomeError: anything else; it says nothing about the configuration.
	OutcomeError Outcome = "error"
)

// Outcomes returns every outcome, in a fixed order.
func Outcomes() []Outcome {
	return []Outcome{OutcomeOK, OutcomeWrong, OutcomeCrash, OutcomeTimeout, OutcomeError}
}

// How a result was verified.
const (
	// VerifiedChecksum: the device's checksum of its product was compared.
	VerifiedChecksum = "checksum"
	// VerifiedArrays: operands were sent, the product was fetched and every
	// element compared.
	VerifiedArrays = "arrays"
)

// Trial is the record of one measurement.
type Trial struct {
	Index   int           `json:"trial"` // from 0, in the order of their beginnings
	Key     string        `json:"key"`   // of the servers
	Size    int           `json:"size"`  // n of the n×n matrices
	Phase   Phase         `json:"phase"`
	Config  matmul.Config `json:"config"`
	Outcome Outcome       `json:"outcome"`
	// Seconds is the measured time of one product.
	Seconds float64 `json:"seconds,omitempty"`
	// GFLOPS is the speed: 2n³ operations in Seconds, in 10⁹ per second.
	GFLOPS float64 `json:"gflops,omitempty"`
	// Repeats is how many runs Seconds is the median of.
	Repeats  int    `json:"repeats,omitempty"`
	Verified string `json:"verified,omitempty"`
	Server   string `json:"server,omitempty"` // host:port
	// WaitS is the time until the session was open: queue, connect, handshake.
	WaitS float64 `json:"wait_s"`
	// SessionS is the time from then on until the session was closed.
	SessionS float64   `json:"session_s"`
	Error    string    `json:"error,omitempty"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
}

// SessionStart is when the trial got its server.
func (t Trial) SessionStart() time.Time {
	return t.Started.Add(time.Duration(t.WaitS * float64(time.Second)))
}

// WriteRecord writes t as one line of JSON, in one write.
func WriteRecord(w io.Writer, t Trial) error {
	line, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode trial %d: %w", t.Index, err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("record trial %d: %w", t.Index, err)
	}
	return nil
}

// ReadRecords returns the trials that [WriteRecord] wrote to r, in order. Other
// lines are passed over: in the log of a pod, progress is among the records. A
// trial that is cut short, as the last one of a job that was killed, is such a line.
func ReadRecords(r io.Reader) ([]Trial, error) {
	var trials []Trial
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var t Trial
		if bytes.HasPrefix(line, []byte(`{"trial":`)) && json.Unmarshal(line, &t) == nil {
			trials = append(trials, t)
		}
		if errors.Is(err, io.EOF) {
			return trials, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read trials: %w", err)
		}
	}
}

// gflops is the speed of an n×n product that takes seconds.
func gflops(n int, seconds float64) float64 {
	f := float64(n)
	return 2 * f * f * f / seconds / 1e9
}
