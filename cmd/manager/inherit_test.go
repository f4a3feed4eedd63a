package main

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

func TestAnOperatorThatCrashedLeavesItsLeaseToItsSuccessor(t *testing.T) {
	const name, space, pod = "rpcpool-operator", "rpcpool-system", "rpcpool-5d9c-abcde"
	for _, tc := range []struct {
		name, holder, pod, hostname string
		want                        bool
	}{
		{"of an earlier process of the container", pod + "_6a1c", pod, pod, true},
		{"of the other operator", "rpcpool-5d9c-zzzzz_6a1c", pod, pod, false},
		{"of a pod whose name begins like ours", pod + "f_6a1c", pod, pod, false},
		{"given up", "", pod, pod, false},
		{"of somebody on the node's network", "node-1_6a1c", pod, "node-1", false},
		{"outside of a cluster", "laptop_6a1c", "", "laptop", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seconds, old := int32(12), metav1.NewMicroTime(time.Unix(1000, 0))
			api := fake.NewClientset(&coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: &tc.holder, LeaseDurationSeconds: &seconds, RenewTime: &old},
			}).CoordinationV1().Leases(space)
			got, err := inherit(t.Context(), api, name, tc.pod, tc.hostname, time.Unix(2000, 0))
			if err != nil || got != tc.want {
				t.Fatalf("%t, %v; want %t", got, err, tc.want)
			}
			lease, err := api.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if free := *lease.Spec.HolderIdentity == ""; free != (tc.want || tc.holder == "") {
				t.Errorf("the holder is %q", *lease.Spec.HolderIdentity)
			}
		})
	}
}

// raced is a cluster in which somebody else writes the lease in between.
type raced struct {
	coordinationclient.LeaseInterface
}

func (raced) Update(_ context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, l.Name, nil)
}

func TestALeaseIsNotTakenFromWhoGotItMeanwhile(t *testing.T) {
	holder := "me_1"
	api := fake.NewClientset(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "s", Name: "l"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}).CoordinationV1().Leases("s")
	if got, err := inherit(t.Context(), raced{api}, "l", "me", "me", time.Now()); got || err == nil {
		t.Errorf("%t, %v; want a conflict", got, err)
	}
	if got, err := inherit(t.Context(), api, "none", "me", "me", time.Now()); got || err != nil {
		t.Errorf("a lease that is not there: %t, %v", got, err)
	}
}
