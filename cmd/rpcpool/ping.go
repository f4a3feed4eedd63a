package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// pingFunction is what ping calls: every TVM server has it, stock ones and the
// built-in worker, and it changes nothing.
const pingFunction = "tvm.rpc.server.workpath"

// pingPause is the time between two attempts to get a session.
const pingPause = 500 * time.Millisecond

// maxPings bounds --count: each call's time is kept.
const maxPings = 1_000_000

// pingFlags are the flags of `rpcpool ping`.
type pingFlags struct {
	tracker string
	key     string
	timeout time.Duration
	count   int
	output  outputFormat
}

// pingResult is what ping measured; times are in seconds.
type pingResult struct {
	Key     string `json:"key"`
	Server  string `json:"server"`  // HOST:PORT
	Flavour string `json:"flavour"` // of the session's packets
	// SessionS is from the request that succeeded until the session was open:
	// the wait for a free server included.
	SessionS float64 `json:"sessionSeconds"`
	Calls    int     `json:"calls"`
	MinS     float64 `json:"callMinSeconds"`
	MedianS  float64 `json:"callMedianSeconds"`
	MaxS     float64 `json:"callMaxSeconds"`
}

func newPingCommand() *cobra.Command {
	var f pingFlags
	cmd := &cobra.Command{
		Use:   "ping --key KEY [flags]",
		Short: "Ask for a server, call a function on it, and print how long it took",
		Long: `Ping does what a client does, once: it asks the tracker for a server of the key,
opens a session on it and calls a function there, ` + pingFunction + `,
which stock servers and the built-in worker have. It prints the time from the
request until the session was open, and the times of the calls.

As long as no session can be opened, because the tracker is not there yet or no
server is free, it tries again until --timeout is over. A session that fails is
not tried again. The exit status is 0 if every call was answered.`,
		Example: `  # Does the pool cpu work, from where a client would run?
  rpcpool ping --tracker rpcpool-tracker.tuning.svc:9190 --key cpu

  # A hundred calls, for a script
  rpcpool ping --tracker 127.0.0.1:9190 --key cpu --count 100 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addTrackerFlag(cmd, &f.tracker)
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "device `KEY` of the server (required)")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "give up after this time")
	flags.IntVar(&f.count, "count", 10, "how many calls to make in the session")
	addOutputFlag(cmd, &f.output)
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err) // the flag is added above
	}
	return cmd
}

func (f *pingFlags) run(cmd *cobra.Command) error {
	addr, err := trackerAddr(f.tracker)
	if err != nil {
		return err
	}
	if err := tvm.ValidateDeviceKey(f.key); err != nil {
		return usageErrorf("--key: %w", err)
	}
	if f.count < 1 || f.count > maxPings {
		return usageErrorf("--count: %d is not between 1 and %d", f.count, maxPings)
	}
	if f.timeout <= 0 {
		return usageErrorf("--timeout: %s is not a positive duration", f.timeout)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	result, err := f.ping(ctx, addr)
	if err != nil {
		return err
	}
	return printData(cmd.OutOrStdout(), f.output, result, result.writeTable)
}

func (f *pingFlags) ping(ctx context.Context, addr string) (pingResult, error) {
	session, took, err := f.session(ctx, addr)
	if err != nil {
		return pingResult{}, err
	}
	defer func() { _ = session.Close() }()
	times := make([]time.Duration, f.count)
	for i := range times {
		began := time.Now()
		if _, err := session.Call(ctx, pingFunction, "ping"); err != nil {
			return pingResult{}, fmt.Errorf("server %s: call %d of %d: %w", session.Server(), i+1, f.count, err)
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return pingResult{
		Key: f.key, Server: session.Server(), Flavour: session.Flavour().String(), SessionS: took.Seconds(), Calls: f.count,
		MinS: times[0].Seconds(), MedianS: times[len(times)/2].Seconds(), MaxS: times[len(times)-1].Seconds(),
	}, nil
}

// session opens a session and returns how long the attempt took that succeeded.
// It tries until ctx ends, and then tells why the last attempt failed, and what the tracker has.
func (f *pingFlags) session(ctx context.Context, addr string) (*client.Session, time.Duration, error) {
	for {
		began := time.Now()
		s, err := client.Request(ctx, addr, f.key, client.Options{MaxRetry: 1, Timeout: f.timeout})
		if err == nil {
			return s, time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("tracker %s: no session after %s%s: %w", addr, f.timeout, f.there(context.WithoutCancel(ctx), addr), err)
		case <-time.After(pingPause):
		}
	}
}

// there says how many servers of the key the tracker has, by state; nothing if it does not answer.
func (f *pingFlags) there(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, pingPause)
	defer cancel()
	c, err := tracker.Dial(ctx, addr)
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	s, err := c.Summary(ctx)
	if err != nil {
		return ""
	}
	states := map[string]int{}
	for _, server := range s.Servers {
		if server.Key() == tvm.ServerKeyPrefix+f.key {
			states[cmp.Or(server.State(), "unknown")]++
		}
	}
	if len(states) == 0 {
		return fmt.Sprintf(" (no server has the key %q)", f.key)
	}
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		counts = append(counts, fmt.Sprintf("%d %s", states[state], plain(state)))
	}
	return fmt.Sprintf(" (servers of the key: %s)", strings.Join(counts, ", "))
}

func (r pingResult) writeTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "KEY\tSERVER\tFLAVOUR\tSESSION\tCALLS\tMIN\tMEDIAN\tMAX")
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Key, plain(r.Server), r.Flavour,
		seconds(r.SessionS), r.Calls, seconds(r.MinS), seconds(r.MedianS), seconds(r.MaxS))
	return table.Flush()
}

// seconds prints a time that was measured, to the microsecond.
func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond)
}
