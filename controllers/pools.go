package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/plan"
	"rpcpool.dev/controllers/trackers"
	"rpcpool.dev/tracker"
)

const (
	// statusPeriod is the least time between two writes of a pool's status.
	statusPeriod = time.Second
	// lookAgain is when a pool is looked at without news: a tracker does not tell
	// what follows from silence alone (package tracker).
	lookAgain = 5 * time.Second
	// lookSoon is the same while a tracker settles, which it does once.
	lookSoon = 250 * time.Millisecond
	// Backoff of pods that fail again and again.
	failedMin    = time.Second
	failedMax    = 5 * time.Minute
	failedShifts = 9                // failedMin doubled so often is over failedMax
	failedForget = 15 * time.Minute // without a failure, the next one is the first
)

// TrackerSet says what is known of the trackers that run here.
type TrackerSet interface {
	// Get returns the tracker that runs under id; nil: none does.
	Get(id trackers.ID) *tracker.Server
	// Joins tells whether clients are told of servers of native calls that are new.
	Joins(id trackers.ID) bool
	// Notes are what servers of native calls say of themselves, by pod and its UID with a
	// slash between.
	Notes(id trackers.ID) map[string]string
}

// Pools reconciles RPCPools.
type Pools struct {
	// Client reads what it wrote ([client.CacheOptions]); the invariants of
	// package plan rest on that, and on the pods' deterministic names.
	Client client.Client
	// Live reads from the API server itself.
	Live     client.Reader
	Settings build.Settings
	Trackers TrackerSet
	// Addresses tells which trackers cannot be reached, and why.
	Addresses *Addresses
	Recorder  recorder.EventRecorder
	Metrics   *Metrics
	Now       func() time.Time
	// Nodes: nodes may be read; without them cordons are not noticed.
	Nodes bool

	applied applied
	mu      sync.Mutex
	memory  map[types.NamespacedName]*memory
	absent  map[string]time.Time // nodes that are missing, and since when
}

// memory is what is remembered of a pool between two reconciles. Losing it costs
// a write or a second.
type memory struct {
	uid     types.UID
	wrote   time.Time // the status
	refused string    // why the API server refused the last pod
	heldAt  *tracker.Server
	warned  bool   // of addresses that are translated
	taken   string // what was said of somebody else's objects
	retries map[string]retry
}

// +kubebuilder:rbac:groups=rpcpool.dev,resources=rpcpools,verbs=get;list;watch
// +kubebuilder:rbac:groups=rpcpool.dev,resources=rpcpools/status,verbs=patch
// +kubebuilder:rbac:groups=rpcpool.dev,resources=rpcpools/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile brings one pool a step nearer to what its manifest says.
func (r *Pools) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pool := &v1alpha1.RPCPool{}
	if err := r.Client.Get(ctx, req.NamespacedName, pool); apierrors.IsNotFound(err) {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("get pool: %w", err)
	}
	if pool.DeletionTimestamp == nil && !r.Addresses.looked(pool) {
		return ctrl.Result{RequeueAfter: lookSoon}, nil // the operator, or the pool, is new
	}
	m := r.remember(pool)
	in, err := r.observe(ctx, pool, m)
	if err != nil {
		return ctrl.Result{}, err
	}
	p := plan.Next(in)
	failed := r.apply(ctx, pool, p, in.Now, m)
	r.warnOfTaken(pool, m, failed)
	if in.Refused != m.refused { // news
		in.Refused = m.refused
		again := plan.Next(in)
		p.Status, p.Events = again.Status, again.Events
	}
	wait, err := r.writeStatus(ctx, pool, p.Status, m)
	// What a condition tells is found anew as long as the status is not written.
	r.tell(pool, p.Events, wait == 0 && err == nil)
	if err := errors.Join(failed, err); err != nil {
		return ctrl.Result{}, err
	}
	next := r.wake(p.Wake, wait)
	if in.Tracker.Address != "" && !in.Tracker.Settled {
		next = min(next, lookSoon)
	}
	return ctrl.Result{RequeueAfter: next}, nil
}

// warnOfTaken tells, once, that somebody else's object has the name of one that
// the pool would have.
func (r *Pools) warnOfTaken(pool *v1alpha1.RPCPool, m *memory, err error) {
	var text string
	if errors.Is(err, errTaken) {
		text = err.Error()
	}
	if text != "" && text != m.taken {
		r.tell(pool, []plan.Event{{Done: true, Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonForbidden, Action: "Apply", Message: text}}, true)
	}
	m.taken = text
}

// writeStatus patches the status if it has changed, and not sooner than
// [statusPeriod] after the last time; else it returns how long that takes yet.
func (r *Pools) writeStatus(ctx context.Context, pool *v1alpha1.RPCPool, status v1alpha1.RPCPoolStatus, m *memory) (time.Duration, error) {
	if equality.Semantic.DeepEqual(pool.Status, status) {
		return 0, nil
	}
	now := r.Now()
	if wait := statusPeriod - now.Sub(m.wrote); wait > 0 {
		return wait, nil
	}
	m.wrote = now
	changed := pool.DeepCopy()
	changed.Status = status
	err := r.Client.Status().Patch(ctx, changed, client.MergeFrom(pool))
	if client.IgnoreNotFound(err) != nil { // not found: deleted meanwhile
		return 0, fmt.Errorf("patch status: %w", err)
	}
	return 0, nil
}

// wake is the next look: the earliest of what the plan and the status wait for
// and the regular one.
func (r *Pools) wake(at time.Time, wait time.Duration) time.Duration {
	next := lookAgain
	if !at.IsZero() {
		next = min(next, max(at.Sub(r.Now()), time.Millisecond))
	}
	if wait > 0 {
		next = min(next, wait)
	}
	return next
}

// tell records events on the pool: what was done and, if the status was written,
// what has changed in it.
func (r *Pools) tell(pool *v1alpha1.RPCPool, events []plan.Event, written bool) {
	for _, e := range events {
		if !written && !e.Done {
			continue
		}
		r.Recorder.Eventf(pool, nil, e.Type, e.Reason, e.Action, "%s", e.Message)
	}
}

// remember returns what is known of the pool from before. A pool of the same
// name that was made anew starts without a past.
func (r *Pools) remember(pool *v1alpha1.RPCPool) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(pool)
	m := r.memory[key]
	if m == nil || m.uid != pool.UID {
		m.release()
		m = &memory{uid: pool.UID, retries: map[string]retry{}}
		if r.memory == nil {
			r.memory = map[types.NamespacedName]*memory{}
		}
		r.memory[key] = m
	}
	return m
}

// release forgets, at the tracker, whom the pool held.
func (m *memory) release() {
	if m != nil && m.heldAt != nil {
		m.heldAt.Hold(string(m.uid), nil)
	}
}

func (r *Pools) forget(key types.NamespacedName) {
	r.mu.Lock()
	r.memory[key].release()
	delete(r.memory, key)
	r.mu.Unlock()
	r.applied.forget(key)
	r.Metrics.forget(key)
}
