//go:build linux

package monitoring

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers"
	"rpcpool.dev/internal/metrics"
)

// serveOperator serves the metrics of an operator that leads and looks after two
// pools of the namespace tuning, and returns its address: "whole" has all that it
// wants, "rolls" is in a rollout.
func serveOperator(t *testing.T) string {
	t.Helper()
	elected := make(chan struct{})
	close(elected)
	registry := prometheus.NewRegistry()
	if _, err := controllers.NewMetrics(registry, pools{
		poolWith("whole", metav1.ConditionTrue, metav1.ConditionFalse, v1alpha1.RPCPoolStatus{Free: new(int32(1)), Busy: new(int32(1))}),
		poolWith("rolls", metav1.ConditionFalse, metav1.ConditionTrue, v1alpha1.RPCPoolStatus{Busy: new(int32(1)), Draining: new(int32(1))}),
	}, elected); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- metrics.ServeListener(ctx, listener, registry, metrics.Probes{}, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// poolWith is a pool that wants two servers.
func poolWith(name string, ready, progressing metav1.ConditionStatus, status v1alpha1.RPCPoolStatus) v1alpha1.RPCPool {
	status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: ready},
		{Type: v1alpha1.ConditionProgressing, Status: progressing},
		{Type: v1alpha1.ConditionTrackerReady, Status: metav1.ConditionTrue},
	}
	return v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tuning", Name: name},
		Spec:       v1alpha1.RPCPoolSpec{Replicas: new(int32(2))},
		Status:     status,
	}
}

// pools is a cache that holds nothing else.
type pools []v1alpha1.RPCPool

func (pools) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("pools are listed")
}

func (p pools) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	into, ok := list.(*v1alpha1.RPCPoolList)
	if !ok {
		return errors.New("only pools are here")
	}
	into.Items = p
	return nil
}
