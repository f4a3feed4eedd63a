package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/controllers/trackers"
)

// Bounds of what a leader does that ends in order: the others wait for it.
const (
	withdrawTime     = 500 * time.Millisecond
	withdrawParallel = 16
)

// withdrawal takes this process out of the trackers' EndpointSlices when it leads no
// more. A Service without endpoints refuses connections at once, so clients and sidecars
// try again until there is the next leader; the address of a pod that is gone would
// swallow what they send, for seconds.
type withdrawal struct {
	client    client.Client
	addresses *Addresses
	log       *slog.Logger
}

// Start waits until ctx ends, and withdraws.
func (w *withdrawal) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTime)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(withdrawParallel)
	for _, id := range w.addresses.listening() {
		group.Go(func() error { return w.withdraw(ctx, id) })
	}
	if err := group.Wait(); err != nil { // the next leader writes its own
		w.log.Warn("a tracker's address is not withdrawn", "error", err)
	}
	return nil
}

// NeedLeaderElection makes the manager run Start on the leader only, and wait for it
// before it gives up the lease.
func (w *withdrawal) NeedLeaderElection() bool { return true }

func (w *withdrawal) withdraw(ctx context.Context, id trackers.ID) error {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"endpoints":[]}`))
	if err := w.client.Patch(ctx, slice, patch, fieldOwner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("endpoints of tracker %s: %w", id, err)
	}
	return nil
}
