package controllers

import (
	"context"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/trackers"
)

// keyAt is a device key at a tracker; an empty key: all of the tracker's, and
// the tracker itself.
type keyAt struct {
	id  trackers.ID
	key string
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// news tells the controllers what trackers tell. Before they run there is nobody
// to tell: their first look sees everything.
type news struct {
	reader client.Reader

	mu              sync.Mutex
	pools, trackers queue
}

// feedPools and feedTrackers are sources of events for the two controllers.
func (n *news) feedPools(_ context.Context, q queue) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pools = q
	return nil
}

func (n *news) feedTrackers(_ context.Context, q queue) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trackers = q
	return nil
}

// tell puts whom the news is about in their queues. It does not block: it reads
// the cache only.
func (n *news) tell(k keyAt) {
	n.mu.Lock()
	ofPools, ofTrackers := n.pools, n.trackers
	n.mu.Unlock()
	if ofTrackers != nil && k.key == "" {
		ofTrackers.Add(reconcile.Request{NamespacedName: k.id})
	}
	if ofPools == nil {
		return
	}
	of := client.MatchingFields{indexTracker: k.id.Name}
	if k.key != "" {
		of = client.MatchingFields{indexKey: k.id.Name + "/" + k.key}
	}
	list := &v1alpha1.RPCPoolList{}
	if err := n.reader.List(context.Background(), list, client.InNamespace(k.id.Namespace), of,
		client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return // only when the operator stops
	}
	for i := range list.Items {
		ofPools.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
}
