package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/sidecar/calls"
)

// replyFormat is the value of call's -o.
type replyFormat string

const (
	replyJSON replyFormat = "json"
	replyRaw  replyFormat = "raw"
)

func (f *replyFormat) String() string { return string(*f) }

// Type is what --help shows as the flag's value.
func (f *replyFormat) Type() string { return "json|raw" }

// Set parses the flag's value.
func (f *replyFormat) Set(s string) error {
	if s != string(replyJSON) && s != string(replyRaw) {
		return errors.New("want json or raw")
	}
	*f = replyFormat(s)
	return nil
}

// callFlags are the flags of `rpcpool call`.
type callFlags struct {
	server     string
	named      namedFlags
	network    calls.Network
	rdma       calls.ClientRDMA
	timeout    time.Duration
	idempotent bool
	lane       uint64
	raw        bool
	output     replyFormat
}

func newCallCommand() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call {--server ADDR | --service NAME} METHOD [JSON-ARG…] [flags]",
		Short: "Make one native call, and print its result",
		Long: `Call calls a method of a server of native calls by its name, and prints the result
as JSON. An argument is JSON, so text has quotes of its own. One argument is what
the method gets, several are a list, none is null. What JSON has no word for is an
object with one key: {"$bytes": BASE64}, {"$time": RFC3339}, {"$float": "NaN"}.

What --tcp-…, --tls…, --token-file, --connect-timeout, --idle-timeout, --bind and --rdma-…
do not say may be in the environment: RPCPOOL_TLS_CA is for --tls-ca. The idle timeout may
be in RPC_IDLE_TIMEOUT or XOSCAR_IDLE_TIMEOUT, too, in seconds or as 1m30s.

ADDR is HOST:PORT or unix:PATH. With --service, the registry of a tracker says where
servers are (rpcpool serve --protocol rpc --tracker).

A call that returns no result ends with status 1, and one line on stderr that says
why, and whether the call ran: NotExecuted, Executed, or Indeterminate (once or not
at all; it will not start any more).`,
		Example: `  # What the built-in worker has: echo, sleep, snprintf and crash
  rpcpool call --server 127.0.0.1:9090 snprintf 64 '"The answer is %d"' 42

  # A call that may run more than once, for ten seconds at most
  rpcpool call --server unix:/run/lib.sock --idempotent --timeout 10s sleep 1.5

  # Any server of a service, the one with rank 2, and all of them
  rpcpool call --tracker tracker:9190 --service library echo 1
  rpcpool call --tracker tracker:9190 --service library --rank 2 echo 1
  rpcpool call --tracker tracker:9190 --service library --all echo 1

  # Bytes in, bytes out
  rpcpool call --server 127.0.0.1:9090 --raw echo < in > out`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no method")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1:]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "`ADDR` of the server")
	flags.DurationVar(&f.timeout, "timeout", 0, "give the call up after this time; 0: never")
	flags.BoolVar(&f.idempotent, "idempotent", false, "more than one run is no harm: run it again if its worker crashes")
	flags.Uint64Var(&f.lane, "lane", 0, "calls of one client in one lane run one after another; 0: in none")
	flags.BoolVar(&f.raw, "raw", false, "the argument is the bytes on stdin, as they are, and so is the result")
	flags.VarP(&f.output, "output", "o", "format of the result on stdout: json, or raw, the bytes as they came (default json; with --raw: raw)")
	f.named.register(cmd)
	network := flag.NewFlagSet("network", flag.ContinueOnError)
	f.network.RegisterClient(network)
	f.rdma.Register(network)
	flags.AddGoFlagSet(network)
	return cmd
}

func (f *callFlags) run(cmd *cobra.Command, method string, args []string) (err error) {
	opts, err := f.options(cmd)
	if err != nil {
		return err
	}
	device, err := f.rdma.Open(&opts, logger(cmd))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	codecs, err := codec.New(codec.Options{})
	if err != nil {
		return err
	}
	id, body, err := f.arguments(cmd.InOrStdin(), codecs.CBOR(), args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	call := func(ctx context.Context, c *rpc.Client, opts ...rpc.CallOption) ([]byte, error) {
		opts = append(opts, rpc.Lane(f.lane))
		if f.idempotent {
			opts = append(opts, rpc.Idempotent)
		}
		return rpc.CallEncoded(ctx, c, method, id, body, opts...)
	}
	if f.named.service != "" {
		return f.runNamed(ctx, opts, call, cmd.OutOrStdout(), codecs.CBOR())
	}
	client, err := rpc.Dial(opts, f.server)
	if err != nil {
		return usageErrorf("--server: %w", err)
	}
	defer func() { _ = client.Close() }()
	reply, err := call(ctx, client)
	if err != nil {
		return errors.New(oneLine(err))
	}
	return f.print(cmd.OutOrStdout(), codecs.CBOR(), reply)
}

// options are those of a client that the flags and the environment ask for.
func (f *callFlags) options(cmd *cobra.Command) (rpc.ClientOptions, error) {
	said := cmd.Flags().Changed
	if err := errors.Join(f.network.Complete(said), f.rdma.Complete(said)); err != nil {
		return rpc.ClientOptions{}, usageError{err}
	}
	o, err := f.network.Client()
	if err != nil {
		return rpc.ClientOptions{}, usageError{err}
	}
	return o, nil
}

// runNamed calls one of those servers that a registry knows, or all.
func (f *callFlags) runNamed(ctx context.Context, o rpc.ClientOptions, call callOf, w io.Writer, cbor *codec.CBOR) error {
	registry, err := f.network.Registry()
	if err != nil {
		return usageError{err}
	}
	n, err := f.named.find(ctx, registry, o)
	if err != nil {
		return err
	}
	defer n.close()
	if f.named.all {
		return f.named.callAll(ctx, n, call, w, cbor)
	}
	at, err := f.named.at(n)
	if err != nil {
		return err
	}
	var opts []rpc.CallOption
	if at != nil {
		opts = append(opts, at)
	}
	reply, err := call(ctx, n.client, opts...)
	if err != nil {
		return errors.New(oneLine(err))
	}
	return f.print(w, cbor, reply)
}

// oneLine is an error's text in one line, whatever the worker says.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// arguments encodes what the method is called with.
func (f *callFlags) arguments(stdin io.Reader, cbor *codec.CBOR, args []string) (id uint8, body []byte, err error) {
	if f.raw {
		if len(args) > 0 {
			return 0, nil, usageErrorf("--raw: the argument is on stdin, not %q", args[0])
		}
		body, err = io.ReadAll(stdin)
		return codec.IDRaw, body, err
	}
	for i, a := range args {
		if _, err := cbor.FromJSON(nil, []byte(a)); err != nil {
			return 0, nil, usageErrorf("argument %d, %q: %w (text has quotes of its own: '\"text\"')", i+1, a, err)
		}
	}
	text := strings.Join(args, ",")
	switch len(args) {
	case 0:
		text = "null"
	case 1:
	default:
		text = "[" + text + "]"
	}
	if body, err = cbor.FromJSON(nil, []byte(text)); err != nil {
		return 0, nil, usageErrorf("arguments: %w", err)
	}
	return codec.IDCBOR, body, nil
}

// print prints a result.
func (f *callFlags) print(w io.Writer, cbor *codec.CBOR, reply []byte) (err error) {
	if f.output == replyRaw || f.output == "" && f.raw {
		_, err = w.Write(reply)
		return err
	}
	if f.raw {
		if reply, err = cbor.Append(nil, reply); err != nil {
			return err
		}
	}
	text, err := cbor.ToJSON(nil, reply)
	if err != nil {
		return fmt.Errorf("the call has run, its result of %d bytes is no CBOR: %w", len(reply), err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
