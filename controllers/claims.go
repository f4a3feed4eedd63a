package controllers

import (
	"context"
	"errors"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
)

// +kubebuilder:rbac:groups=resource.k8s.io,resources=resourceclaimtemplates,verbs=get;list;create;delete

// claimError is why no pod of a pool that claims its devices can be made.
type claimError struct{ text string }

func (e *claimError) Error() string { return e.text }

// errNoClaims is said where the cluster has no dynamic resource allocation.
var errNoClaims = &claimError{"spec.rdma.claim needs dynamic resource allocation, and this cluster does not serve ResourceClaimTemplates of resource.k8s.io/v1"}

// readyClaims sees to it that the template is there from which the claims of new pods are
// made. A pod without would be admitted, and wait for a node for ever; of a cluster that does
// not know claims, even run without a device. Nothing is cached, nor watched by a client that
// is to see its own writes: pods are seldom made, and a watch of what a cluster does not serve
// would keep the operator from starting.
func (r *Pools) readyClaims(ctx context.Context, pool *v1alpha1.RPCPool) error {
	name := build.ClaimTemplateName(pool)
	if name == "" {
		return nil
	}
	wanted := build.ClaimTemplate(pool)
	found := &resourcev1.ResourceClaimTemplate{}
	switch err := r.Live.Get(ctx, types.NamespacedName{Namespace: pool.Namespace, Name: name}, found); {
	case err == nil && wanted != nil && !metav1.IsControlledBy(found, pool):
		return &claimError{fmt.Sprintf("ResourceClaimTemplate %s %v", name, errTaken)}
	case err == nil:
		return r.dropClaims(ctx, pool, name)
	case meta.IsNoMatchError(err):
		return errNoClaims
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("get ResourceClaimTemplate %s: %w", name, err)
	case wanted == nil:
		return &claimError{fmt.Sprintf("there is no ResourceClaimTemplate %s (spec.rdma.claim.templateName)", name)}
	}
	if err := r.Client.Create(ctx, wanted, fieldOwner, client.DisableReadYourWritesConsistency); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ResourceClaimTemplate %s: %w", name, err)
	}
	return r.dropClaims(ctx, pool, name)
}

// dropClaims removes the templates that were made of what the manifest said before.
// Claims that were made of them stay with their pods.
func (r *Pools) dropClaims(ctx context.Context, pool *v1alpha1.RPCPool, but string) error {
	list := &resourcev1.ResourceClaimTemplateList{}
	if err := r.Live.List(ctx, list, client.InNamespace(pool.Namespace), client.MatchingLabels{v1alpha1.LabelPool: pool.Name}); err != nil {
		return fmt.Errorf("list ResourceClaimTemplates: %w", err)
	}
	var errs []error
	for i := range list.Items {
		if old := &list.Items[i]; old.Name != but && metav1.IsControlledBy(old, pool) {
			if err := r.Client.Delete(ctx, old, client.DisableReadYourWritesConsistency); client.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("delete ResourceClaimTemplate %s: %w", old.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}
