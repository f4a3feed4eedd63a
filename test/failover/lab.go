//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/tracker"
)

// Names: poolName is also the device key, trackerName the default.
const (
	poolName    = "board"
	trackerName = "rpcpool-tracker"
)

// patience bounds what must happen and takes no time of its own.
const patience = time.Minute

// lab is everything that runs.
type lab struct {
	*settings
	progress io.Writer

	server    *kubetest.Server
	api       client.Client
	namespace string
	service   *service
	watcher   *watcher
	fleet     *fleet
	kubelet   *kubetest.Kubelet
	operators *operators
	history   *history
	facts     facts
}

// newLab starts the API server and what is simulated, two operators, and a pool
// whose servers are all free.
func newLab(ctx context.Context, o *settings, programs, scratch string, progress io.Writer) (l *lab, err error) {
	l = &lab{settings: o, progress: progress, history: newHistory(), facts: facts{lease: o.lease, settle: o.settle}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	l.say("seed %d; starting the API server", o.seed)
	if l.server, err = kubetest.Start(); err != nil {
		return nil, err
	}
	if l.namespace, err = l.server.CreateNamespace(ctx, "failover"); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("scheme: %w", err)
	}
	if l.api, err = client.New(l.server.Admin.Config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if l.service, err = newService(ctx); err != nil {
		return nil, err
	}
	if l.watcher, err = newWatcher(ctx, l.server.Admin.Config, l.namespace, l.service.point); err != nil {
		return nil, err
	}
	l.fleet = newFleet(programs, scratch, l.service.address())
	l.kubelet, err = l.server.StartKubelet(ctx, kubetest.KubeletOptions{
		Namespace: l.namespace, OnRunning: l.fleet.running, OnDeleting: l.fleet.deleting,
	})
	if err != nil {
		return nil, err
	}
	if err := l.startOperators(ctx, programs, scratch); err != nil {
		return nil, err
	}
	return l, l.makePool(ctx)
}

// startOperators starts two, and waits until one of them leads.
func (l *lab) startOperators(ctx context.Context, programs, scratch string) error {
	user, err := l.server.User("rpcpool-operator", "system:masters")
	if err != nil {
		return err
	}
	l.operators = &operators{path: filepath.Join(programs, manager), dir: scratch, args: []string{
		"--kubeconfig", user.Kubeconfig, "--watch-namespaces", l.namespace, "--leader-elect-resource-namespace", l.namespace,
		"--leader-elect-lease-duration", l.lease.String(), "--leader-elect-renew-deadline", l.renew.String(),
		"--leader-elect-retry-period", l.retry.String(), "--tracker-settle", l.settle.String(),
		"--tracker-bind-host", "127.0.0.1", "--metrics-bind-address", "0", "--health-probe-bind-address", "0",
		"--sidecar-image", "rpcpool:failover", "--log-format", "text",
	}}
	for range 2 {
		if err := l.operators.start(); err != nil {
			return err
		}
	}
	return l.until(ctx, patience, "an operator that leads", func() bool { return l.operators.leader() != nil })
}

// makePool makes a pool and waits until all its servers are free.
func (l *lab) makePool(ctx context.Context) error {
	l.say("a pool of %d", l.devices)
	size := int32(l.devices)
	pool := &v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: poolName},
		Spec: v1alpha1.RPCPoolSpec{Replicas: &size, Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "device", Image: "rpcpool:failover", Command: []string{"rpcpool-worker"}}},
		}}},
	}
	if err := l.api.Create(ctx, pool); err != nil {
		return fmt.Errorf("create the pool: %w", err)
	}
	if err := kubetest.Poll(ctx, patience, l.allFree); err != nil {
		_, wrong := l.fleet.finish()
		return fmt.Errorf("servers of a new pool: %w; %q", err, wrong)
	}
	l.facts.devices = l.fleet.addresses()
	slices.Sort(l.facts.devices)
	var err error
	l.facts.before, err = l.pods(ctx)
	return err
}

// allFree fails unless the tracker and the pool's status say that every server
// is free.
func (l *lab) allFree(ctx context.Context) error {
	free, err := l.freeDevices(ctx)
	if err == nil && len(free) != l.devices {
		err = fmt.Errorf("the tracker says that %q are free", free)
	}
	if err != nil {
		return err
	}
	pool := &v1alpha1.RPCPool{}
	if err := l.api.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: poolName}, pool); err != nil {
		return fmt.Errorf("look at the pool: %w", err)
	}
	if s := pool.Status; s.Free == nil || s.ReadyReplicas == nil || int(*s.Free) != l.devices || int(*s.ReadyReplicas) != l.devices {
		return fmt.Errorf("the pool's status is %+v", s)
	}
	return nil
}

// freeDevices asks the tracker which servers are free.
func (l *lab) freeDevices(ctx context.Context) (free []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := tracker.Dial(ctx, l.service.address())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	summary, err := c.Summary(ctx)
	for _, s := range summary.Servers {
		if host, port := s.Addr(); s.State() == string(tracker.StateFree) {
			free = append(free, host+":"+port)
		}
	}
	return free, err
}

// pods lists the UIDs of all pods by name.
func (l *lab) pods(ctx context.Context) (map[string]string, error) {
	list := &corev1.PodList{}
	if err := l.api.List(ctx, list, client.InNamespace(l.namespace)); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	uids := map[string]string{}
	for i := range list.Items {
		uids[list.Items[i].Name] = string(list.Items[i].UID)
	}
	return uids, nil
}

// close ends everything that was started.
func (l *lab) close() error {
	var errs []error
	if l.fleet != nil {
		errs = append(errs, l.fleet.close(context.Background()))
	}
	if l.operators != nil {
		l.facts.ends = l.operators.close()
		l.facts.gaveUp = l.operators.gaveUp
	}
	if l.kubelet != nil {
		errs = append(errs, l.kubelet.Stop())
	}
	if l.watcher != nil {
		l.watcher.close()
	}
	if l.service != nil {
		l.service.close()
	}
	if l.server != nil {
		errs = append(errs, l.server.Stop())
	}
	return errors.Join(errs...)
}

// say tells whoever waits what goes on.
func (l *lab) say(format string, a ...any) {
	fmt.Fprintf(l.progress, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, a...))
}

// until waits for something that is told by nobody.
func (l *lab) until(ctx context.Context, within time.Duration, what string, done func() bool) error {
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s", within, what)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		const tick = 5 * time.Millisecond
		pause(ctx, tick)
	}
	return nil
}

// leftovers lists the processes below us, in the end. What has ended, and was
// left to us, is buried.
func leftovers() (list []string) {
	all, err := proc.Descendants(os.Getpid())
	if err != nil {
		return []string{err.Error()}
	}
	for _, p := range all {
		if p.State == 'Z' {
			proc.Reap(p.PID)
			continue
		}
		list = append(list, fmt.Sprintf("process %d (%s) below %d", p.PID, proc.Argument0(p.PID), p.Parent))
	}
	return list
}
