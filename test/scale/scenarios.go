//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
)

// Targets, from the project's plan.
const (
	mostSeconds      = 60  // to bring up the pool
	mostIdleWrites   = 0   // while nothing happens
	mostStatusWrites = 1   // per second, of one pool
	mostMemory       = 120 // MiB, of the operator
)

// patience bounds each wait; what takes longer cannot be measured.
const patience = 10 * time.Minute

// poolName is also the device key.
const poolName = "board"

// scenarios measures everything.
func (l *lab) scenarios(ctx context.Context) error {
	for _, scenario := range []func(context.Context) error{
		l.bringUpPool, l.bringUpDeployment, l.steady, l.runSessions, l.grow,
	} {
		if err := scenario(ctx); err != nil {
			return err
		}
	}
	l.limited("connections of servers that failed", count, float64(l.fleet.failures.Load()), 0, "to the tracker, over the whole run")
	return nil
}

// bringUpPool makes the pool and waits until every server is ready.
func (l *lab) bringUpPool(ctx context.Context) error {
	l.say("a pool of %d", l.pods)
	audit, err := l.server.Audit()
	if err != nil {
		return err
	}
	size := int32(l.pods)
	pool := &v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: poolName},
		Spec: v1alpha1.RPCPoolSpec{
			Replicas: &size,
			Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{device()}}},
		},
	}
	began := time.Now()
	if err := l.client.Create(ctx, pool); err != nil {
		return fmt.Errorf("create the pool: %w", err)
	}
	address, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	l.fleet.open(address, poolName)
	if err := l.ready(ctx, l.pods); err != nil {
		return err
	}
	took := time.Since(began)
	requests, err := audit.Requests(of(operatorUser))
	if err != nil {
		return err
	}
	l.limited(fmt.Sprintf("pool of %d ready", l.pods), seconds, took.Seconds(), mostSeconds,
		"status.readyReplicas; as many servers register with the tracker, on the same cores")
	l.add("requests by the operator", count, float64(len(requests)), kinds(requests))
	l.pool = bringUp{took, len(requests)}
	return nil
}

// bringUp is what it cost to bring pods up.
type bringUp struct {
	took     time.Duration
	requests int
}

// tracker waits for the tracker's address.
func (l *lab) tracker(ctx context.Context) (address string, err error) {
	err = kubetest.Poll(ctx, patience, func(ctx context.Context) error {
		slices := &discoveryv1.EndpointSliceList{}
		if err := l.client.List(ctx, slices, client.InNamespace(l.namespace), client.HasLabels{v1alpha1.LabelTracker}); err != nil {
			return fmt.Errorf("look for the tracker: %w", err)
		}
		for _, slice := range slices.Items {
			if len(slice.Endpoints) == 1 && len(slice.Ports) == 1 && slice.Ports[0].Port != nil {
				address = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(*slice.Ports[0].Port)))
				return nil
			}
		}
		return errors.New("the tracker has no EndpointSlice")
	})
	return address, err
}

// ready waits until the pool says that so many servers are ready.
func (l *lab) ready(ctx context.Context, n int) error {
	pool := &v1alpha1.RPCPool{}
	return kubetest.Poll(ctx, patience, func(ctx context.Context) error {
		if err := l.client.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: poolName}, pool); err != nil {
			return fmt.Errorf("look at the pool: %w", err)
		}
		if got := pool.Status.ReadyReplicas; got == nil || int(*got) != n {
			return fmt.Errorf("%d servers are not ready: status %+v", n, pool.Status)
		}
		return nil
	})
}

// bringUpDeployment does the same with a Deployment.
func (l *lab) bringUpDeployment(ctx context.Context) (err error) {
	l.say("a Deployment of %d", l.pods)
	namespace, err := l.server.CreateNamespace(ctx, "deployment")
	if err != nil {
		return err
	}
	kubelet, err := l.server.StartKubelet(ctx, kubetest.KubeletOptions{Namespace: namespace})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kubelet.Stop()) }()
	const qps = 1000 // by default it is 20, after 30 at once: nobody would be slower
	controllers, err := l.server.StartControllerManager(kubetest.ControllerManagerOptions{QPS: qps})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, controllers.Stop()) }()
	if _, err := l.deploy(ctx, namespace, "warm", 1); err != nil {
		return err
	}
	audit, err := l.server.Audit()
	if err != nil {
		return err
	}
	took, err := l.deploy(ctx, namespace, poolName, l.pods)
	if err != nil {
		return err
	}
	requests, err := audit.Requests(of(kubetest.ControllerManagerUser))
	if err != nil {
		return err
	}
	l.add(fmt.Sprintf("Deployment of %d ready", l.pods), seconds, took.Seconds(),
		fmt.Sprintf("kube-controller-manager with --kube-api-qps=%d; with its default of 20 it takes at least %d s", qps, max(0, l.pods-30)/20))
	l.add("requests by kube-controller-manager", count, float64(len(requests)), kinds(requests))
	l.add("time, pool to Deployment", ratio, l.pool.took.Seconds()/took.Seconds(), "")
	l.add("requests, pool to Deployment", ratio, float64(l.pool.requests)/float64(len(requests)), "")
	return l.server.RemoveNamespace(ctx, namespace)
}

// deploy makes a Deployment and waits until it is ready.
func (l *lab) deploy(ctx context.Context, namespace, name string, pods int) (took time.Duration, err error) {
	size, labels := int32(pods), map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &size, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
	began := time.Now()
	if err := l.client.Create(ctx, d); err != nil {
		return 0, fmt.Errorf("create the Deployment: %w", err)
	}
	err = kubetest.Poll(ctx, patience, func(ctx context.Context) error {
		if err := l.client.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
			return fmt.Errorf("look at the Deployment: %w", err)
		}
		if d.Status.ReadyReplicas != size {
			return fmt.Errorf("%d of %d pods of the Deployment are ready", d.Status.ReadyReplicas, size)
		}
		return nil
	})
	return time.Since(began), err
}

// steady looks whether the operator writes although nothing happens.
func (l *lab) steady(ctx context.Context) error {
	const settled = 3 * time.Second // the last status write is at most a second late
	l.say("nothing, for %s", l.quiet)
	if err := pause(ctx, settled); err != nil {
		return err
	}
	audit, err := l.server.Audit()
	if err != nil {
		return err
	}
	if err := pause(ctx, l.quiet); err != nil {
		return err
	}
	writes, err := audit.Requests(writesOf(operatorUser))
	if err != nil {
		return err
	}
	l.limited(fmt.Sprintf("writes in %s of nothing", l.quiet), count, float64(len(writes)), mostIdleWrites,
		"by the operator; a lease that is renewed not counted. "+kinds(writes))
	return nil
}

// grow makes the pool larger, and looks at the operator's memory.
func (l *lab) grow(ctx context.Context) error {
	l.say("a pool of %d", l.large)
	pool := &v1alpha1.RPCPool{}
	if err := l.client.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: poolName}, pool); err != nil {
		return fmt.Errorf("look at the pool: %w", err)
	}
	base := pool.DeepCopy()
	size := int32(l.large)
	pool.Spec.Replicas = &size
	began := time.Now()
	if err := l.client.Patch(ctx, pool, client.MergeFrom(base)); err != nil {
		return fmt.Errorf("grow the pool: %w", err)
	}
	if err := l.ready(ctx, l.large); err != nil {
		return err
	}
	took := time.Since(began)
	now, file, most, err := l.operator.memory()
	if err != nil {
		return err
	}
	l.add(fmt.Sprintf("from %d to %d ready", l.pods, l.large), seconds, took.Seconds(), "")
	l.limited(fmt.Sprintf("operator's memory with %d pods", l.large), mebi, now, mostMemory,
		fmt.Sprintf("VmRSS, trackers included; %s of it is the program's file", text(file, mebi)))
	l.add("operator's memory at most", mebi, most, "VmHWM, over the whole run")
	return nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
