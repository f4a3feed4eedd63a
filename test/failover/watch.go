//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// watcher follows the Lease and the EndpointSlices of a namespace.
type watcher struct {
	moved func(endpoint) // told of the tracker's endpoint when it has changed; must not block
	done  sync.WaitGroup
	stop  context.CancelFunc

	mu     sync.Mutex
	holder string
	since  time.Time
	at     endpoint
	when   map[string]time.Time // an endpoint's host: when it was first seen
}

// newWatcher begins to watch.
func newWatcher(ctx context.Context, config *rest.Config, namespace string, moved func(endpoint)) (*watcher, error) {
	discovery, err := discoveryclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	coordination, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	w := &watcher{moved: moved, when: map[string]time.Time{}}
	ctx, w.stop = context.WithCancel(ctx)
	w.follow(ctx, coordination.RESTClient(), "leases", namespace, &coordinationv1.Lease{}, w.lease)
	w.follow(ctx, discovery.RESTClient(), "endpointslices", namespace, &discoveryv1.EndpointSlice{}, w.slice)
	return w, nil
}

func (w *watcher) follow(ctx context.Context, c cache.Getter, resource, namespace string, object runtime.Object, changed func(any)) {
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(c, resource, namespace, fields.Everything()),
		ObjectType:    object,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    changed,
			UpdateFunc: func(_, o any) { changed(o) },
		},
	})
	w.done.Go(func() { informer.RunWithContext(ctx) })
}

func (w *watcher) lease(o any) {
	lease, ok := o.(*coordinationv1.Lease)
	if !ok || lease.Name != leaseName {
		return
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if holder != w.holder {
		w.holder, w.since = holder, time.Now()
	}
}

func (w *watcher) slice(o any) {
	slice, ok := o.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] != trackerName ||
		len(slice.Endpoints) == 0 || len(slice.Endpoints[0].Addresses) == 0 || len(slice.Ports) == 0 || slice.Ports[0].Port == nil {
		return
	}
	e := endpoint{slice.Endpoints[0].Addresses[0], int(*slice.Ports[0].Port)}
	w.mu.Lock()
	changed := e != w.at
	w.at = e
	if w.when[e.host].IsZero() {
		w.when[e.host] = time.Now()
	}
	w.mu.Unlock()
	if changed {
		w.moved(e)
	}
}

// leader is the holder of the Lease, and since when; empty: nobody holds it.
func (w *watcher) leader() (holder string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holder, w.since
}

// movedTo tells when the EndpointSlice first named a host; zero: it has not.
func (w *watcher) movedTo(host string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.when[host]
}

func (w *watcher) close() {
	w.stop()
	w.done.Wait()
}
