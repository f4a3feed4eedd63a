package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
)

// fieldOwner is the operator's name in managedFields.
const fieldOwner = client.FieldOwner("rpcpool-operator")

// applied remembers what was applied last, so that an object that is as it
// should be costs no request. What others changed since shows in the object's
// generation (or, of kinds without one, its resource version), and is applied
// over.
type applied struct {
	mu   sync.Mutex
	past map[appliedKey]appliedTo
}

type appliedKey struct {
	kind string
	types.NamespacedName
}

type appliedTo struct {
	uid     types.UID
	content [sha256.Size]byte
	version string
}

// version tells states of an object's wishes apart.
func version(o client.Object) string {
	if g := o.GetGeneration(); g != 0 {
		return fmt.Sprint("generation ", g)
	}
	return o.GetResourceVersion()
}

// forget drops what is known of the objects that have a pool's name.
func (a *applied) forget(name types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.past {
		if k.NamespacedName == name {
			delete(a.past, k)
		}
	}
}

// errTaken: somebody else's object has the name of one of ours.
var errTaken = errors.New("exists and is somebody else's: it is left alone")

// apply makes the object in the cluster what wanted says, by server-side apply,
// unless it is already. current is of the same type and gets the present object.
// The cache has ours only, by a label; what is not in there is asked for at the
// API server, so that nobody else's object of the same name is taken over.
func (a *applied) apply(ctx context.Context, c client.Client, live client.Reader, wanted, current client.Object, label string) error {
	gvk, err := c.GroupVersionKindFor(wanted)
	if err != nil {
		return fmt.Errorf("apply %T: %w", wanted, err)
	}
	name := client.ObjectKeyFromObject(wanted)
	u, content, err := pruned(wanted)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", gvk.Kind, name, err)
	}
	u.SetGroupVersionKind(gvk)
	switch err := c.Get(ctx, name, current); {
	case err == nil && a.holds(gvk.Kind, current, content):
		return nil
	case apierrors.IsNotFound(err):
		err = live.Get(ctx, name, current)
		if err == nil && current.GetLabels()[label] != wanted.GetLabels()[label] {
			return fmt.Errorf("%s %s %w", gvk.Kind, name, errTaken)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get %s %s: %w", gvk.Kind, name, err)
		}
	case err != nil:
		return fmt.Errorf("get %s %s: %w", gvk.Kind, name, err)
	}
	// The cache of typed objects is not the one that would have to see this
	// unstructured write; nothing here is read again at once.
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership,
		client.DisableReadYourWritesConsistency); err != nil {
		return fmt.Errorf("apply %s %s: %w", gvk.Kind, name, err)
	}
	a.note(gvk.Kind, u, content)
	return nil
}

func (a *applied) holds(kind string, current client.Object, content [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.past[appliedKey{kind, client.ObjectKeyFromObject(current)}] ==
		appliedTo{uid: current.GetUID(), content: content, version: version(current)}
}

func (a *applied) note(kind string, o client.Object, content [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.past == nil {
		a.past = map[appliedKey]appliedTo{}
	}
	a.past[appliedKey{kind, client.ObjectKeyFromObject(o)}] = appliedTo{uid: o.GetUID(), content: content, version: version(o)}
}

// pruned is an object as it is applied: without a status, and without fields
// that are only there because Go's zero values are.
func pruned(o client.Object) (*unstructured.Unstructured, [sha256.Size]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("convert: %w", err)
	}
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	text, err := json.Marshal(content)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("encode: %w", err)
	}
	return &unstructured.Unstructured{Object: content}, sha256.Sum256(text), nil
}

// applyOwned keeps what belongs to a pool beside its pods.
func (r *Pools) applyOwned(ctx context.Context, pool *v1alpha1.RPCPool) error {
	if pool.DeletionTimestamp != nil {
		return nil
	}
	budget := build.DisruptionBudget(pool)
	if err := r.keep(ctx, pool, orNil(budget, budget == nil), &policyv1.PodDisruptionBudget{}); err != nil {
		return err
	}
	policy := build.NetworkPolicy(pool)
	return r.keep(ctx, pool, orNil(policy, policy == nil), &networkingv1.NetworkPolicy{})
}

// orNil makes a nil pointer a nil interface.
func orNil(o client.Object, isNil bool) client.Object {
	if isNil {
		return nil
	}
	return o
}

// keep applies wanted; nil: it deletes what was applied before. current is an
// empty object of the type; of the pool's name there is at most one.
func (r *Pools) keep(ctx context.Context, pool *v1alpha1.RPCPool, wanted, current client.Object) error {
	if wanted != nil {
		return r.applied.apply(ctx, r.Client, r.Live, wanted, current, v1alpha1.LabelPool)
	}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(pool), current)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil && !metav1.IsControlledBy(current, pool) {
		return nil
	}
	if err == nil {
		uid := current.GetUID()
		err = r.Client.Delete(ctx, current, client.Preconditions{UID: &uid})
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove %T %s: %w", current, pool.Name, err)
	}
	return nil
}
