package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;patch;delete
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
	a := address{port: pools[0].Spec.Tracker.Port, owner: pools[0].Name}
	err = r.listen(ctx, id.NamespacedName, a.port, pools)
	if errors.Is(err, trackers.ErrClosed) {
		return ctrl.Result{}, nil // the operator does not lead any more
	}
	if err != nil {
		a.problem = err.Error()
	}
	r.Addresses.set(id.NamespacedName, a)
	return ctrl.Result{}, err
}

// poolsOf returns the pools of a tracker, the oldest first: its port counts.
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
	slices.SortFunc(pools, func(a, b *v1alpha1.RPCPool) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return pools, nil
}

// listen makes the tracker reachable.
func (r *Trackers) listen(ctx context.Context, id trackers.ID, port int32, pools []*v1alpha1.RPCPool) error {
	if err := r.notOurs(ctx, id); err != nil {
		return err
	}
	listener, err := r.Set.Ensure(ctx, id)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	service := build.TrackerService(id.Namespace, id.Name, port, pools)
	if err := r.applied.apply(ctx, r.Client, service, &corev1.Service{}); err != nil {
		return err
	}
	slice := build.TrackerEndpoints(id.Namespace, id.Name, r.Host, int32(listener), pools)
	return r.applied.apply(ctx, r.Client, slice, &discoveryv1.EndpointSlice{})
}

// notOurs fails if somebody else has a Service of the tracker's name. The cache
// has ours only, so what is not in there is asked for.
func (r *Trackers) notOurs(ctx context.Context, id trackers.ID) error {
	service := &corev1.Service{}
	err := r.Client.Get(ctx, id, service)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, id, service)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get service %s: %w", id, err)
	case service.Labels[v1alpha1.LabelTracker] != id.Name:
		return fmt.Errorf("service %s exists and is not a tracker's: name another one in spec.tracker.name", id.Name)
	default:
		return nil
	}
}

// Addresses tells pools where their trackers are.
type Addresses struct {
	// Changed is called when a tracker's address or its problem has changed. It
	// must not block.
	Changed func(trackers.ID)

	mu    sync.Mutex
	known map[trackers.ID]address
}

// address of a tracker; the zero value: it is not known.
type address struct {
	port    int32
	owner   string // the pool that says which port
	problem string // why it cannot be reached
}

func (a *Addresses) set(id trackers.ID, now address) {
	a.mu.Lock()
	changed := a.known[id] != now
	switch {
	case now == address{}:
		delete(a.known, id)
	case a.known == nil:
		a.known = map[trackers.ID]address{id: now}
	default:
		a.known[id] = now
	}
	a.mu.Unlock()
	if changed {
		a.Changed(id)
	}
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
	id := trackerOf(pool)
	a.mu.Lock()
	at, known := a.known[id]
	a.mu.Unlock()
	switch {
	case !known:
		return plan.Tracker{}
	case at.problem != "":
		return plan.Tracker{Reason: v1alpha1.ReasonNotListening, Message: at.problem}
	}
	t := plan.Tracker{Address: fmt.Sprintf("%s.%s.svc:%d", id.Name, id.Namespace, at.port)}
	if at.port != pool.Spec.Tracker.Port {
		t.Reason = v1alpha1.ReasonPortConflict
		t.Message = fmt.Sprintf("the tracker's port is %d, as pool %s asked for first; this pool asks for %d", at.port, at.owner, pool.Spec.Tracker.Port)
	}
	return t
}
