package calls

import (
	"flag"
	"log/slog"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/rdma/keeper"
)

// ClientRDMA is by which RDMA device a client's long arguments and results go, as its flags
// say.
type ClientRDMA struct {
	flags keeper.Flags
	opts  keeper.Options
	set   *flag.FlagSet
}

// Register adds the flags.
func (c *ClientRDMA) Register(flags *flag.FlagSet) {
	c.set = flag.NewFlagSet("rdma", flag.ContinueOnError)
	c.flags.RegisterClient(c.set)
	c.set.VisitAll(func(f *flag.Flag) { flags.Var(f.Value, f.Name, f.Usage) })
}

// Complete takes what no flag has said from the environment, and checks all: an error names
// the flag or the variable.
func (c *ClientRDMA) Complete(said func(flag string) bool) (err error) {
	if err = fromEnvironment(c.set, said); err != nil {
		return err
	}
	c.opts, err = c.flags.Options()
	return err //nolint:wrapcheck // it names the flag
}

// Open opens the device for a client with these options. It must be closed after the client.
func (c *ClientRDMA) Open(o *rpc.ClientOptions, log *slog.Logger) (*keeper.Keeper, error) {
	c.opts.Log = log
	k, err := keeper.Open(c.opts)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	o.FarBlobs = k.Far()
	o.FarBlobs.Log = log
	return k, nil
}
