package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/plan"
)

// writers is how many pods are written to at a time.
const writers = 16

// apply carries out a plan that was made at now. Servers are held back before
// anything is written: who is told to go is not given a client any more. What
// the API server refuses is tried again later, like what fails.
func (r *Pools) apply(ctx context.Context, pool *v1alpha1.RPCPool, p plan.Plan, now time.Time, m *memory) error {
	// Who is offered again must not be evictable any more by then.
	if err := r.mark(ctx, pool, p.NotEvictable, "labels", v1alpha1.LabelEvictable, v1alpha1.NotEvictable); err != nil {
		return err
	}
	if t := r.Trackers.Get(trackerOf(pool)); t != nil {
		t.Hold(string(pool.UID), instances(p.Hold))
		m.heldAt = t
	}
	since := now.UTC().Format(time.RFC3339)
	// One part that fails does not keep the others from being done.
	return errors.Join(
		r.applyOwned(ctx, pool),
		r.mark(ctx, pool, p.Drain, "annotations", v1alpha1.AnnotationDraining, since),
		r.mark(ctx, pool, p.Undrain, "annotations", v1alpha1.AnnotationDraining, nil),
		r.mark(ctx, pool, p.Evictable, "labels", v1alpha1.LabelEvictable, v1alpha1.Evictable),
		inParallel(ctx, p.Delete, func(ctx context.Context, d plan.Deletion) error { return r.remove(ctx, pool, d) }),
		r.createAll(ctx, pool, p.Create, m),
	)
}

// createAll makes pods. After the first refusal no more are tried: a thousand
// would be refused for the same reason.
func (r *Pools) createAll(ctx context.Context, pool *v1alpha1.RPCPool, ordinals []int, m *memory) error {
	if len(ordinals) == 0 {
		return nil // what was refused before still is, as far as we know
	}
	if err := r.readyClaims(ctx, pool); err != nil {
		m.refused = refusal(err)
		return err
	}
	var refused atomic.Bool
	err := inParallel(ctx, ordinals, func(ctx context.Context, ordinal int) error {
		if refused.Load() {
			return nil
		}
		err := r.create(ctx, pool, ordinal)
		if refusal(err) != "" {
			refused.Store(true)
		}
		return err
	})
	m.refused = refusal(err)
	return err
}

func instances(uids []types.UID) []string {
	names := make([]string, len(uids))
	for i, uid := range uids {
		names[i] = string(uid)
	}
	return names
}

// refusal is what to tell people of a pod that could not be made; empty if there
// is no error, or it is nobody's business but ours.
func refusal(err error) string {
	var claim *claimError
	if errors.As(err, &claim) {
		return claim.text
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	switch status.Status().Reason {
	case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonAlreadyExists, metav1.StatusReasonBadRequest:
		return status.Status().Message
	default:
		return ""
	}
}

func (r *Pools) create(ctx context.Context, pool *v1alpha1.RPCPool, ordinal int) error {
	pod, err := build.Pod(pool, r.Settings, ordinal)
	if err != nil {
		return fmt.Errorf("pod %d: %w", ordinal, err)
	}
	if err := r.Client.Create(ctx, pod, fieldOwner); err != nil {
		if apierrors.IsAlreadyExists(err) && r.made(ctx, pool, pod.Name) {
			return nil // by us, and the cache has not seen it yet
		}
		return fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
	r.Metrics.created(pool)
	return nil
}

// made tells whether a pod that exists is the pool's.
func (r *Pools) made(ctx context.Context, pool *v1alpha1.RPCPool, name string) bool {
	pod := podNamed(pool, name)
	return r.Live.Get(ctx, client.ObjectKeyFromObject(pod), pod) == nil && metav1.IsControlledBy(pod, pool)
}

// remove deletes one pod, and no later one of the same name.
func (r *Pools) remove(ctx context.Context, pool *v1alpha1.RPCPool, d plan.Deletion) error {
	pod := podNamed(pool, d.Name)
	err := r.Client.Delete(ctx, pod, &client.DeleteOptions{
		GracePeriodSeconds: d.Grace, Preconditions: &metav1.Preconditions{UID: &d.UID},
	})
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete pod %s: %w", d.Name, err)
	}
	r.Metrics.deleted(pool, d.Reason)
	return nil
}

// mark sets a label or an annotation of pods (field: "labels", "annotations"), or
// removes it (value: nil). The UID in the patch makes the API server refuse it
// for a later pod of the same name.
func (r *Pools) mark(ctx context.Context, pool *v1alpha1.RPCPool, pods []plan.Ref, field, name string, value any) error {
	return inParallel(ctx, pods, func(ctx context.Context, ref plan.Ref) error {
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": ref.UID, field: map[string]any{name: value}}})
		if err != nil {
			return fmt.Errorf("patch pod %s: %w", ref.Name, err)
		}
		err = r.Client.Patch(ctx, podNamed(pool, ref.Name), client.RawPatch(types.MergePatchType, body), fieldOwner)
		if err != nil && !gone(err) {
			return fmt.Errorf("patch pod %s: %w", ref.Name, err)
		}
		return nil
	})
}

// gone tells whether the object of an error does not exist any more, or is
// another one by now: the next observation shows that.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

func podNamed(pool *v1alpha1.RPCPool, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pool.Namespace, Name: name}}
}

// inParallel does something for each item, a few at a time. One that fails does
// not keep the others from being done, but only the first few errors are told:
// a thousand pods are refused for one and the same reason.
func inParallel[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	const told = 3
	var (
		group errgroup.Group
		mu    sync.Mutex
		errs  []error
	)
	group.SetLimit(writers)
	for _, item := range items {
		group.Go(func() error {
			if err := do(ctx, item); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) < told {
					errs = append(errs, err)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return nil
	return errors.Join(errs...)
}
