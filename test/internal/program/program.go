// Package program runs the programs that test and measure: flags in, an exit
// status out.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// Exit statuses, those of all programs here.
const (
	OK     = 0
	Failed = 1
	Usage  = 2
)

// Settings are a program's flags, and what it does by them.
type Settings interface {
	// Register adds the flags to a flag set.
	Register(flags *flag.FlagSet)
	// Check says which flag is wrong.
	Check() error
	// Run prints what people read, and returns why it failed.
	Run(ctx context.Context, stdout, stderr io.Writer) error
}

// Run is a program of that name, and returns its exit status. Errors are one
// line on stderr.
func Run(ctx context.Context, name string, s Settings, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	s.Register(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return OK
	case err != nil:
		return Usage
	}
	err := s.Check()
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return Usage
	}
	if err := s.Run(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return Failed
	}
	return OK
}
