package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leases is what inherit needs of a cluster.
type leases interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error)
}

// inherit gives up a lease that an earlier process of this very container holds. That
// one is dead, or else the kubelet would not have started us; without this, everybody,
// and we too, would wait until the lease is over. It is true if there was one.
//
// Holders call themselves HOSTNAME_UUID. A pod's name is its hostname, unless it is on
// the node's network, where two operators may have the same one: then nothing is
// inherited.
func inherit(ctx context.Context, leases leases, name, pod, hostname string, now time.Time) (bool, error) {
	if pod == "" || pod != hostname {
		return false, nil
	}
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lease %s: %w", name, err)
	}
	holder := lease.Spec.HolderIdentity
	if holder == nil || !strings.HasPrefix(*holder, pod+"_") {
		return false, nil
	}
	// As a leader does that ends in order.
	none, second, at := "", int32(1), metav1.NewMicroTime(now)
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &none, &second
	lease.Spec.RenewTime, lease.Spec.AcquireTime = &at, &at
	// Not over a lease that somebody else has got meanwhile: it is of the version read.
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		return false, fmt.Errorf("lease %s: %w", name, err)
	}
	return true, nil
}
