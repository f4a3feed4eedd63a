package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/plan"
	"rpcpool.dev/controllers/trackers"
)

// Trackers keeps a listener, a Service and an EndpointSlice for each tracker
// that a pool names.
type Trackers struct {
	Client client.Client
	// Live reads from the API server itself.
	Live      client.Reader
	Set       *trackers.Set
	Addresses *Addresses
	// Host is this process's address, for the EndpointSlices.
	Host string

	applied applied
}

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices/restricted,verbs=create

// Reconcile brings one tracker, named by the request, to what its pools ask for.
func (r *Trackers) Reconcile(ctx context.Context, id ctrl.Request) (ctrl.Result, error) {
	pools, err := r.poolsOf(ctx, id.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(pools) == 0 { // Service and EndpointSlice go with their last owner
		r.Set.Stop(id.NamespacedName)
		r.Addresses.set(id.NamespacedName, address{})
		r.applied.forget(id.NamespacedName)
		return ctrl.Result{}, nil
	}
	a := address{listens: true}
	err = r.listen(ctx, id.NamespacedName, pools)
	if errors.Is(err, trackers.ErrClosed) {
		return ctrl.Result{}, nil // the operator does not lead any more
	}
	if err != nil {
		a = address{problem: err.Error()}
	}
	r.Addresses.set(id.NamespacedName, a)
	return ctrl.Result{}, err
}

// poolsOf returns the pools of a tracker.
func (r *Trackers) poolsOf(ctx context.Context, id trackers.ID) ([]*v1alpha1.RPCPool, error) {
	list := &v1alpha1.RPCPoolList{}
	if err := r.Client.List(ctx, list, client.InNamespace(id.Namespace), client.MatchingFields{indexTracker: id.Name}); err != nil {
		return nil, fmt.Errorf("list pools of tracker %s: %w", id, err)
	}
	pools := make([]*v1alpha1.RPCPool, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pools = append(pools, &list.Items[i])
		}
	}
	return pools, nil
}

// listen makes the tracker reachable.
func (r *Trackers) listen(ctx context.Context, id trackers.ID, pools []*v1alpha1.RPCPool) error {
	listener, err := r.Set.Ensure(ctx, id)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	service := build.TrackerService(id.Namespace, id.Name, pools)
	if err := r.applied.apply(ctx, r.Client, r.Live, service, &corev1.Service{}, v1alpha1.LabelTracker); err != nil {
		return err
	}
	slice := build.TrackerEndpoints(id.Namespace, id.Name, r.Host, int32(listener), pools)
	return r.applied.apply(ctx, r.Client, r.Live, slice, &discoveryv1.EndpointSlice{}, v1alpha1.LabelTracker)
}

// Addresses tells pools where their trackers are.
type Addresses struct {
	// Changed is called when a tracker can be reached, or not any more. It must
	// not block.
	Changed func(trackers.ID)
	// Settle is how long servers may take to find a tracker that can be reached.
	Settle time.Duration
	Now    func() time.Time

	mu    sync.Mutex
	known map[trackers.ID]known
}

// known is an address, and since when it has been so.
type known struct {
	address
	since time.Time
}

// address says whether a tracker can be reached; the zero value: that is not
// known.
type address struct {
	listens bool
	problem string // why it cannot be reached
}

func (a *Addresses) set(id trackers.ID, now address) {
	a.mu.Lock()
	changed := a.known[id].address != now
	switch {
	case now == address{}:
		delete(a.known, id)
	case changed:
		if a.known == nil {
			a.known = map[trackers.ID]known{}
		}
		a.known[id] = known{now, a.Now()}
	}
	a.mu.Unlock()
	if changed {
		a.Changed(id)
	}
}

// listening returns the trackers that can be reached.
func (a *Addresses) listening() (all []trackers.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range a.known {
		if at.listens {
			all = append(all, id)
		}
	}
	return all
}

// looked tells whether somebody has looked after the pool's tracker yet. It is
// not for long that nobody has, and not worth telling.
func (a *Addresses) looked(pool *v1alpha1.RPCPool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.known[trackerOf(pool)]
	return known
}

// of returns what a pool needs to know of its tracker's address.
func (a *Addresses) of(pool *v1alpha1.RPCPool) plan.Tracker {
	a.mu.Lock()
	at := a.known[trackerOf(pool)]
	a.mu.Unlock()
	switch {
	case at.problem != "":
		return plan.Tracker{Reason: v1alpha1.ReasonNotListening, Message: at.problem}
	case !at.listens:
		return plan.Tracker{}
	}
	return plan.Tracker{
		Address: build.TrackerAddress(pool),
		// Its servers can have come back only after they could reach it.
		Settled: a.Now().Sub(at.since) >= a.Settle,
	}
}
