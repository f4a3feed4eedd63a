package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// Environment variables of TVM's own tools, and what those do without them.
const (
	envTrackerHost     = "TVM_TRACKER_HOST"
	envTrackerPort     = "TVM_TRACKER_PORT"
	defaultTrackerHost = "127.0.0.1"
	defaultTrackerPort = "9190"
)

// queryFlags are the flags of `rpcpool query`.
type queryFlags struct {
	tracker string
	timeout time.Duration
	output  outputFormat
}

func newQueryCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "query [flags]",
		Short: "Show a tracker's servers and queues",
		Long: `Query prints the two tables of TVM's query_rpc_tracker, and then what TVM's tool
does not know: the state of each server, for how long it has been in it and who
was given it, why servers are not offered, and who waits for which key. Of a
tracker that is not ours, states are not known.

With -o json or yaml it prints the tracker's answer itself: queue_info by key,
and server_info, each server with all fields that it told.`,
		Example: `  rpcpool query --tracker 127.0.0.1:9190

  # The addresses of the servers that are free
  rpcpool query -o json | jq -r '.server_info[] | select(.state == "free") | .addr | join(":")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	addTrackerFlag(cmd, &f.tracker)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "give up after this time")
	addOutputFlag(cmd, &f.output)
	return cmd
}

// addTrackerFlag adds --tracker, whose value [trackerAddr] completes.
func addTrackerFlag(cmd *cobra.Command, addr *string) {
	cmd.Flags().StringVar(addr, "tracker", "",
		"`HOST:PORT`; default: $"+envTrackerHost+" and $"+envTrackerPort+", else "+net.JoinHostPort(defaultTrackerHost, defaultTrackerPort))
}

func (f *queryFlags) run(cmd *cobra.Command) error {
	addr, err := trackerAddr(f.tracker)
	if err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usageErrorf("--timeout: %s is not a positive duration", f.timeout)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	client, err := tracker.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	summary, err := client.Summary(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	return printData(cmd.OutOrStdout(), f.output, summary, func(w io.Writer) error {
		return writeSummary(w, summary)
	})
}

// trackerAddr is the flag, or what the environment says as it does to TVM's
// tools.
func trackerAddr(flag string) (string, error) {
	if flag == "" {
		host := envOr(envTrackerHost, defaultTrackerHost)
		if inner, bracketed := strings.CutPrefix(host, "["); bracketed { // an IPv6 address as in a URL
			host = strings.TrimSuffix(inner, "]")
		}
		flag = net.JoinHostPort(host, envOr(envTrackerPort, defaultTrackerPort))
	}
	_, port, err := net.SplitHostPort(flag)
	if err != nil {
		return "", usageErrorf("--tracker: address %q: want HOST:PORT: %w", flag, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", usageErrorf("--tracker: address %q: %q is not a port (1 to 65535)", flag, port)
	}
	return flag, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// writeSummary writes the stock tables, byte for byte but for what no terminal
// should be told, and then ours.
func writeSummary(w io.Writer, s tvm.SummaryReply) error {
	if _, err := fmt.Fprintf(w, "%s\n", tvm.TextSummary(printable(s))); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	writeStates(table, s)
	writeReasons(table, s)
	writeWaiting(table, s)
	return table.Flush()
}

func writeStates(w io.Writer, s tvm.SummaryReply) {
	if len(s.Servers) == 0 {
		fmt.Fprintln(w, "No servers are registered.")
		return
	}
	fmt.Fprintln(w, "KEY\tADDRESS\tSTATE\tFOR\tCLIENT")
	servers := slices.Clone(s.Servers)
	slices.SortStableFunc(servers, func(a, b tvm.ServerInfo) int { return strings.Compare(a.Key(), b.Key()) })
	for _, server := range servers {
		host, port := server.Addr()
		state, since := "unknown", "-"
		if server.State() != "" {
			state, since = server.State(), short(server.Age())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", plain(strings.TrimPrefix(server.Key(), tvm.ServerKeyPrefix)),
			plain(net.JoinHostPort(host, port)), plain(state), since, plain(clientOf(server)))
	}
}

// writeReasons lists the servers that say why nobody is given them.
func writeReasons(w io.Writer, s tvm.SummaryReply) {
	listed := 0
	for _, server := range s.Servers {
		if server.Reason() == "" {
			continue
		}
		if listed++; listed == 1 {
			fmt.Fprintln(w, "\nNOT OFFERED\tWHY")
		}
		host, port := server.Addr()
		fmt.Fprintf(w, "%s\t%s\n", plain(net.JoinHostPort(host, port)), plain(server.Reason()))
	}
}

// clientOf returns whom a server was granted to, or else whom it says that it
// has in a session.
func clientOf(server tvm.ServerInfo) string {
	var client string
	if json.Unmarshal(server.Info[tracker.FieldGrantedTo], &client) == nil {
		return client
	}
	var session tvm.SessionInfo
	if json.Unmarshal(server.Info[tvm.FieldSession], &session) == nil {
		return session.Client
	}
	return ""
}

func writeWaiting(w io.Writer, s tvm.SummaryReply) {
	waits, listed := 0, 0
	for _, key := range sortedKeys(s.Queue) {
		q := s.Queue[key]
		waits += q.Pending
		for _, r := range q.Waiting {
			if listed++; listed == 1 {
				fmt.Fprintln(w, "\nWAITING FOR\tCLIENT\tPRIORITY\tFOR\tUSER")
			}
			fmt.Fprintf(w, "%s\t%s\t%g\t%s\t%s\n", plain(key), plain(r.Client), r.Priority,
				short(time.Duration(r.AgeS*float64(time.Second))), plain(r.User))
		}
	}
	if more := waits - listed; more > 0 {
		fmt.Fprintf(w, "\n%d more requests wait.\n", more)
	}
}

func sortedKeys(queues map[string]tvm.QueueInfo) []string {
	keys := make([]string, 0, len(queues))
	for key := range queues {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// plain returns what peers say in a form that cannot break a table or a
// terminal.
func plain(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// short prints a duration as precisely as people need it.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
