package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/sidecar/calls"
)

// mostListing bounds what a server may answer, bytes.
const mostListing = 64 << 20

// blobsFlags are the flags of `rpcpool blobs`.
type blobsFlags struct {
	metrics string
	timeout time.Duration
	output  outputFormat
}

func newBlobsCommand() *cobra.Command {
	var f blobsFlags
	cmd := &cobra.Command{
		Use:   "blobs --metrics HOST:PORT [flags]",
		Short: "List who has which blob at a server of calls",
		Long: `Blobs lists the memory that a server of calls shares with its clients and workers: each
blob, who has it, how, for which call, and for how long; and how bytes went to and from
clients of other machines: by their connections, or by RDMA, and why not. It asks the
page /debug/blobs at the server's address for metrics. At rest there are no blobs.`,
		Example: `  # What do clients of this server have?
  rpcpool blobs --metrics 127.0.0.1:9191

  # For a script
  rpcpool blobs --metrics 127.0.0.1:9191 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.metrics, "metrics", "127.0.0.1:9191", "`HOST:PORT` of the server's metrics")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "give up after this time")
	addOutputFlag(cmd, &f.output)
	return cmd
}

func (f *blobsFlags) run(cmd *cobra.Command) error {
	if err := metrics.CheckAddr(f.metrics); err != nil || f.metrics == "" {
		return usageErrorf("--metrics: %q is no HOST:PORT", f.metrics)
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, "http://"+f.metrics+"/debug/blobs", nil)
	if err != nil {
		return usageErrorf("--metrics: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := (&http.Client{Timeout: f.timeout}).Do(req)
	if err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("blobs: %s at %s: it is no server of calls, or has no blobs", resp.Status, f.metrics)
	}
	var l calls.Listing
	if err := json.NewDecoder(io.LimitReader(resp.Body, mostListing)).Decode(&l); err != nil {
		return fmt.Errorf("blobs: answer of %s: %w", f.metrics, err)
	}
	return printData(cmd.OutOrStdout(), f.output, l, func(w io.Writer) error { return writeBlobs(w, &l) })
}

func writeBlobs(w io.Writer, l *calls.Listing) error {
	fmt.Fprintf(w, "domain %s: %d blobs, %d parties, %d calls; %d segments of %d bytes\n", plain(l.Domain), l.Blobs, l.Parties, l.Calls, l.Segments, l.Bytes)
	l.Write(w, plain)
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "BLOB\tSIZE\tMEMORY\tSTATE\tHOLDER\tUSE\tCALL\tAGE")
	for _, h := range l.Holdings {
		state, call := h.State, h.Call
		if h.Dirty {
			state += ", dirty"
		}
		if call == "" {
			call = "-"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", plain(h.Blob), h.Size, h.Memory, plain(state), plain(h.Holder), plain(h.Use), plain(call), seconds(h.Age))
	}
	return table.Flush()
}
