package local

import (
	"context"
	"errors"
	"fmt"
	"net"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/manifest"
	"rpcpool.dev/internal/tcp"
)

// Parts runs the parts of a plan. Each call gets its listener, closes it, and
// returns when ctx has ended and everything it started is gone, or earlier with
// an error.
type Parts interface {
	RunTracker(ctx context.Context, t Tracker, l *net.TCPListener) error
	RunServer(ctx context.Context, s Server, l *net.TCPListener) error
}

// Run runs the plan until ctx ends, and then stops it and returns nil. started
// is called when every port is bound, before anything serves. If a part fails,
// everything is stopped and the error names the part.
func Run(ctx context.Context, plan Plan, parts Parts, started func()) error {
	listeners, err := listen(plan)
	if err != nil {
		return err
	}
	started()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Trackers outlive the servers, whose offers are withdrawn there.
	trackersCtx, stopTrackers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTrackers()
	var trackers, servers errgroup.Group
	for i, tracker := range plan.Trackers {
		trackers.Go(func() error {
			err := parts.RunTracker(trackersCtx, tracker, listeners[i])
			stop(err)
			return partError(err, "tracker", tracker.Name, tracker.Address)
		})
	}
	for i, server := range plan.Servers {
		servers.Go(func() error {
			err := parts.RunServer(ctx, server, listeners[len(plan.Trackers)+i])
			stop(err)
			return partError(err, "server", server.Name, server.Address)
		})
	}
	<-ctx.Done()
	err = servers.Wait()
	stopTrackers()
	return errors.Join(err, trackers.Wait())
}

// partError names the part. The end of a context is how parts are stopped, not
// an error.
func partError(err error, kind, name, address string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s %s (%s): %w", kind, name, address, err)
}

// listen binds every port of the plan: trackers first, then servers. If one
// cannot be had, none is kept, and the error names the manifest's field.
func listen(plan Plan) ([]*net.TCPListener, error) {
	var listeners []*net.TCPListener
	bind := func(address string, source manifest.Source, path *field.Path) error {
		l, err := tcp.Listen(address)
		if err != nil {
			return source.Errorf("%s: %w", path, err)
		}
		listeners = append(listeners, l)
		return nil
	}
	var err error
	for _, t := range plan.Trackers {
		err = errors.Join(err, bind(t.Address, t.source, field.NewPath("spec", "tracker", "port")))
	}
	for _, s := range plan.Servers {
		err = errors.Join(err, bind(s.Address, s.source, field.NewPath("spec", "server", "port")))
	}
	if err != nil {
		for _, l := range listeners {
			_ = l.Close()
		}
		return nil, err
	}
	return listeners, nil
}
