package protocol

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"
)

func TestEachProtocolGetsItsFlagsOrOneClearError(t *testing.T) {
	for _, x := range []struct {
		args, key string
		workers   int
		drain     time.Duration
		err       string
	}{
		{args: "--key a --drain 1m", key: "a", workers: 1, drain: time.Minute},
		{args: "", workers: 1},
		{args: "--protocol rpc", workers: 1, drain: 30 * time.Second},
		{args: "--protocol rpc --workers 3 --drain 1m", workers: 3, drain: time.Minute},
		{args: "--protocol rpc --key a", err: "--key: is for --protocol tvm"},
		{args: "--workers 3", err: "--workers: is for --protocol rpc"},
		{args: "--protocol udp", err: `invalid value "udp" for flag -protocol: want tvm or rpc`},
	} {
		t.Run(x.args, func(t *testing.T) {
			f, name := NewFlags(), TVM
			var drains [2]time.Duration
			key := f[TVM].String("key", "", "")
			f[TVM].DurationVar(&drains[0], "drain", 0, "")
			workers := f[RPC].Int("workers", 1, "")
			f[RPC].DurationVar(&drains[1], "drain", 30*time.Second, "")
			command := flag.NewFlagSet("", flag.ContinueOnError)
			command.SetOutput(io.Discard)
			f.AddTo(command)
			command.Var(&name, "protocol", Usage)
			err := command.Parse(strings.Fields(x.args))
			if err == nil {
				err = f.Take(name, func(yield func(string, string)) {
					command.Visit(func(g *flag.Flag) { yield(g.Name, g.Value.String()) })
				})
			}
			if x.err != "" || err != nil {
				if err == nil || err.Error() != x.err {
					t.Fatalf("%v, want %q", err, x.err)
				}
				return
			}
			drain := drains[0]
			if name == RPC {
				drain = drains[1]
			}
			if *key != x.key || *workers != x.workers || drain != x.drain {
				t.Errorf("%q, %d, %s", *key, *workers, drain)
			}
		})
	}
}
