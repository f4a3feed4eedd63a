package program

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

// example runs if n is not negative, and fails if it is 13.
type example struct{ n int }

func (e *example) Register(flags *flag.FlagSet) { flags.IntVar(&e.n, "n", 0, "a number") }

func (e *example) Check() error {
	if e.n < 0 {
		return errors.New("-n: negative")
	}
	return nil
}

func (e *example) Run(_ context.Context, stdout, _ io.Writer) error {
	if e.n == 13 {
		return errors.New("bad luck")
	}
	_, err := io.WriteString(stdout, "done\n")
	return err
}

func TestStatuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want int
		says string
	}{
		"it runs":            {[]string{"-n", "1"}, OK, "done\n"},
		"help":               {[]string{"-h"}, OK, "a number"},
		"an unknown flag":    {[]string{"-m"}, Usage, "-m"},
		"a value that is no": {[]string{"-n", "-1"}, Usage, "example: -n: negative\n"},
		"an argument":        {[]string{"x"}, Usage, `example: unexpected argument "x"`},
		"it fails":           {[]string{"-n", "13"}, Failed, "example: bad luck\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if got := Run(t.Context(), "example", &example{}, test.args, &out, &out); got != test.want || !strings.Contains(out.String(), test.says) {
				t.Errorf("status %d, want %d: %s", got, test.want, out.String())
			}
		})
	}
}
