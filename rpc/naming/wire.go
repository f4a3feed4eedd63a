package naming

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/registry"
)

// Methods of a registry. Arguments and results are messages of package registry, but
// for those of State and Watch, which begin with a number: an epoch, a version.
const (
	methodRegister   = "naming.Register"
	methodRenew      = "naming.Renew"
	methodDeregister = "naming.Deregister"
	methodState      = "naming.State"
	methodLock       = "naming.Lock"
	methodArrive     = "naming.Arrive"
	methodRelease    = "naming.Release"
	methodWatch      = "naming.Watch"
)

// Dial makes a client of a registry, for nodes and followers: it tries to reach it more
// often than others try servers, for a lease waits for it.
func Dial(opts rpc.ClientOptions, address string) (*rpc.Client, error) {
	if opts.Service == "" {
		opts.Service = "registry"
	}
	if opts.Backoff.Most == 0 {
		opts.Backoff.Most = time.Second
	}
	if opts.Connect == 0 {
		opts.Connect = 2 * time.Second
	}
	return rpc.Dial(opts, address) //nolint:wrapcheck // it says all
}

// refused makes the error of a call of what the registry says.
func refused(err error) error {
	no := (*registry.Refusal)(nil)
	if !errors.As(err, &no) {
		return err
	}
	detail, err := registry.Encode(no)
	if err != nil {
		return err //nolint:wrapcheck // it names the type
	}
	return rpc.Fail(rpc.Reason(no.Code.String()), detail, "%s", no.Text)
}

// refusalOf returns the refusal that an error of a call is, or the error.
func refusalOf(err error) error {
	if e := (*rpc.Error)(nil); errors.As(err, &e) && e.Code == rpc.Failed {
		if no, bad := registry.Decode[registry.Refusal](e.Detail); bad == nil {
			return no
		}
	}
	return err
}

// ask makes a call. Whatever a registry is asked may be asked again.
func ask[A, R registry.Message](ctx context.Context, c rpc.Caller, method string, a *A) (*R, error) {
	b, err := send(ctx, c, method, a)
	if err != nil {
		return nil, err
	}
	return registry.Decode[R](b) //nolint:wrapcheck // it names the type
}

// send is ask for what has no answer.
func send[A registry.Message](ctx context.Context, c rpc.Caller, method string, a *A) ([]byte, error) {
	body, err := registry.Encode(a)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the type
	}
	b, err := rpc.Call[[]byte](ctx, c, method, body, rpc.Idempotent)
	return b, refusalOf(err)
}

// State asks a registry what has become of an epoch.
func State(ctx context.Context, registryClient rpc.Caller, epoch uint64) (registry.State, error) {
	s, err := rpc.Call[uint8](ctx, registryClient, methodState, epoch, rpc.Idempotent)
	return registry.State(s), refusalOf(err)
}

// pauses are those between attempts: each is half to all of the next length, which
// doubles.
type pauses struct{ next, most time.Duration }

// wait is false if ctx ended.
func (p *pauses) wait(ctx context.Context) bool {
	d := p.next/2 + rand.N(p.next/2+1) //nolint:gosec // spreads load, hides nothing
	p.next = min(2*p.next, p.most)
	return sleep.For(d, ctx.Done())
}
