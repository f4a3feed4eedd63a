package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"rpcpool.dev/internal/tune"
)

// plotFlags are the flags of `rpcpool plot`.
type plotFlags struct {
	out    string
	output outputFormat
}

func newPlotCommand() *cobra.Command {
	var f plotFlags
	cmd := &cobra.Command{
		Use:   "plot [FILE]",
		Short: "Draw and sum up a tuning job from its record or its log",
		Long: `Plot reads the trials of a tuning job, as 'rpcpool tune --out' writes them, from
FILE or from standard input, prints the job's summary and draws the job. Lines that
are no trials are passed over, so the log of a pod will do.`,
		Example: `  # A job that runs in a cluster, with --out -
  kubectl logs job/tune | rpcpool plot --out tune.svg

  # A record, as a table only
  rpcpool plot trials.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringVar(&f.out, "out", "", "`FILE` for a picture of the job, .svg or .png")
	addOutputFlag(cmd, &f.output)
	return cmd
}

func (f *plotFlags) run(cmd *cobra.Command, args []string) (err error) {
	if f.out != "" {
		if _, err := tune.PictureFormat(f.out); err != nil {
			return usageErrorf("--out: %w", err)
		}
	}
	name, source := "standard input", io.NopCloser(cmd.InOrStdin())
	if len(args) > 0 && args[0] != standard {
		name = args[0]
		if source, err = os.Open(name); err != nil {
			return err //nolint:wrapcheck // names the file
		}
	}
	trials, err := tune.ReadRecords(source)
	if err = errors.Join(err, source.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(trials) == 0 {
		return fmt.Errorf("%s: no trial in it", name)
	}
	result := tune.ResultOf(trials)
	err = printData(cmd.OutOrStdout(), f.output, result.Summary, result.Summary.WriteTable)
	if f.out == "" {
		return err
	}
	return errors.Join(err, writePicture(f.out, result.Picture))
}
