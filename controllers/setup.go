package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/trackers"
)

// Names of the cache's indexes.
const (
	indexTracker = "spec.tracker.name"
	indexKey     = "tracker/key" // of a device key at a tracker
	indexNode    = "spec.nodeName"
)

const (
	poolWorkers    = 4
	trackerWorkers = 2
	reconcileLimit = 2 * time.Minute
	// Pauses after a reconcile that failed.
	retryMin = 20 * time.Millisecond
	retryMax = 30 * time.Second
)

// Options of the operator.
type Options struct {
	Settings build.Settings
	// Trackers are how trackers run; Changed and Registerer are set by Setup.
	Trackers trackers.Options
	// TrackerHost is this process's address, for the trackers' EndpointSlices.
	TrackerHost string
	// Nodes: nodes may be watched.
	Nodes bool
	// Registerer gets the metrics of pools and trackers.
	Registerer prometheus.Registerer
	Logger     *slog.Logger // never nil
	// Now is time.Now, but for tests.
	Now func() time.Time
}

// Setup adds the operator to a manager that was made with [ManagerOptions].
func Setup(ctx context.Context, mgr manager.Manager, o Options) error {
	if err := index(ctx, mgr, o.Nodes); err != nil {
		return err
	}
	news := &news{reader: mgr.GetClient()}
	pace := &pacer[keyAt]{period: statusPeriod, emit: news.tell, after: func(d time.Duration, f func()) { time.AfterFunc(d, f) }}
	o.Trackers.Changed = func(id trackers.ID, key string) { pace.notify(keyAt{id, key}) }
	o.Trackers.Registerer, o.Trackers.Logger = o.Registerer, o.Logger
	set := trackers.NewSet(o.Trackers)
	if err := mgr.Add(set); err != nil {
		return fmt.Errorf("trackers: %w", err)
	}
	addresses := &Addresses{
		Changed: func(id trackers.ID) { pace.notify(keyAt{id: id}) },
		Settle:  o.Trackers.Settle, Now: o.Now,
	}
	if err := mgr.Add(&withdrawal{client: mgr.GetClient(), addresses: addresses, log: o.Logger}); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	metrics, err := NewMetrics(o.Registerer, mgr.GetClient(), mgr.Elected())
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	pools := &Pools{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Settings: o.Settings,
		Trackers: set, Addresses: addresses, Recorder: mgr.GetEventRecorder(string(fieldOwner)),
		Metrics: metrics, Now: o.Now, Nodes: o.Nodes,
	}
	if err := pools.setup(mgr, news); err != nil {
		return fmt.Errorf("controller of pools: %w", err)
	}
	keep := &Trackers{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Set: set, Addresses: addresses, Host: o.TrackerHost}
	if err := keep.setup(mgr, news); err != nil {
		return fmt.Errorf("controller of trackers: %w", err)
	}
	return nil
}

// index makes the cache find pools by tracker and by key, and pods by node.
func index(ctx context.Context, mgr manager.Manager, nodes bool) error {
	fields := mgr.GetFieldIndexer()
	if err := fields.IndexField(ctx, &v1alpha1.RPCPool{}, indexTracker, func(o client.Object) []string {
		pool, _ := o.(*v1alpha1.RPCPool)
		return []string{pool.Spec.Tracker.Name}
	}); err != nil {
		return fmt.Errorf("index pools by tracker: %w", err)
	}
	if err := fields.IndexField(ctx, &v1alpha1.RPCPool{}, indexKey, func(o client.Object) []string {
		pool, _ := o.(*v1alpha1.RPCPool)
		return []string{pool.Spec.Tracker.Name + "/" + pool.DeviceKey()}
	}); err != nil {
		return fmt.Errorf("index pools by key: %w", err)
	}
	if !nodes {
		return nil
	}
	if err := fields.IndexField(ctx, &corev1.Pod{}, indexNode, func(o client.Object) []string {
		pod, _ := o.(*corev1.Pod)
		return []string{pod.Spec.NodeName}
	}); err != nil {
		return fmt.Errorf("index pods by node: %w", err)
	}
	return nil
}

func (r *Pools) setup(mgr manager.Manager, n *news) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("rpcpool").
		For(&v1alpha1.RPCPool{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.Pod{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&networkingv1.NetworkPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Func(n.feedPools)).
		WithOptions(options(poolWorkers))
	if r.Nodes {
		b = b.Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.poolsOnNode), builder.WithPredicates(nodeChanged()))
	}
	return b.Complete(r)
}

func (r *Trackers) setup(mgr manager.Manager, n *news) error {
	ofObject := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelTracker]}}}
	})
	ofPool := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		pool, _ := o.(*v1alpha1.RPCPool)
		return []reconcile.Request{{NamespacedName: trackerOf(pool)}}
	})
	return ctrl.NewControllerManagedBy(mgr).Named("tracker").
		Watches(&v1alpha1.RPCPool{}, ofPool, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Service{}, ofObject).
		Watches(&discoveryv1.EndpointSlice{}, ofObject).
		WatchesRawSource(source.Func(n.feedTrackers)).
		WithOptions(options(trackerWorkers)).
		Complete(r)
}

func options(workers int) controller.Options {
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: workers, EnableWarmup: &warm, ReconciliationTimeout: reconcileLimit,
		// What has failed may be cured by somebody without our seeing it, such as a
		// quota: it is tried again soon enough for whoever waits for it.
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryMin, retryMax),
	}
}

// poolsOnNode returns the pools that have pods on a node.
func (r *Pools) poolsOnNode(ctx context.Context, node client.Object) []reconcile.Request {
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.MatchingFields{indexNode: node.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil // only when the operator stops: the list is from the cache
	}
	var requests []reconcile.Request
	for i := range pods.Items {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{
			Namespace: pods.Items[i].Namespace, Name: pods.Items[i].Labels[v1alpha1.LabelPool],
		}})
	}
	return requests // the queue drops what is in it already
}

// nodeChanged lets pass what a plan depends on: nodes are written to all the
// time.
func nodeChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // its pods come later
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, _ := e.ObjectOld.(*corev1.Node)
			after, _ := e.ObjectNew.(*corev1.Node)
			return cordoned(before) != cordoned(after) || silent(before) != silent(after)
		},
	}
}
