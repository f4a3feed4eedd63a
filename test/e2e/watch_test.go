package e2e_test

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
)

// guard is told of everything that happens to a pool and its pods while it is there,
// and holds it to what a rollout promises:
//
//   - there are never more pods than servers asked for, and a name is used again only
//     when its old pod is gone, whatever the device;
//   - of the servers, at most so many are away: without a pod, with one that drains,
//     or with one that ends;
//   - as many as that at the least are offered or in a session, by the pool's word.
//
// A pod's own readiness is its kubelet's word, which may be five seconds old.
type guard struct {
	replicas, away int

	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	broken  []string // what was not held, each once
	most    int      // away at a time
	settled bool     // all pods that there were have been seen
}

// guard guards a pool that is complete, until the test ends or stop is called.
func (s *space) guard(pool string, replicas, away int) (stop func() *guard) {
	s.t.Helper()
	g := &guard{replicas: replicas, away: away, pods: map[string]*corev1.Pod{}}
	ctx, cancel := context.WithCancel(s.t.Context())
	var all sync.WaitGroup
	follow := func(list client.ObjectList, see func(watch.Event), options ...client.ListOption) {
		w, err := s.api.Watch(ctx, list, append(options, client.InNamespace(s.name))...)
		if err != nil {
			s.t.Fatal(err)
		}
		all.Go(func() {
			defer w.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case e, ok := <-w.ResultChan():
					if !ok {
						g.breach("the watch has ended")
						return
					}
					see(e)
				}
			}
		})
	}
	follow(&corev1.PodList{}, g.seePod, client.MatchingLabels{v1alpha1.LabelPool: pool})
	follow(&v1alpha1.RPCPoolList{}, func(e watch.Event) { g.seePool(e, pool) })
	var once sync.Once
	stop = func() *guard {
		once.Do(func() {
			cancel()
			all.Wait()
			for _, what := range g.broken {
				s.t.Errorf("pool %s: %s", pool, what)
			}
		})
		return g
	}
	s.t.Cleanup(func() { stop() })
	return stop
}

func (g *guard) breach(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.note(format, args...)
}

// note keeps what was not held. It wants the lock.
func (g *guard) note(format string, args ...any) {
	if what := fmt.Sprintf(format, args...); len(g.broken) < 10 {
		g.broken = append(g.broken, what)
	}
}

func (g *guard) seePod(e watch.Event) {
	p, ok := e.Object.(*corev1.Pod)
	if !ok {
		g.breach("the watch says %+v", e.Object)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.Type == watch.Deleted {
		delete(g.pods, p.Name)
	} else {
		if before := g.pods[p.Name]; before != nil && before.UID != p.UID {
			g.note("two pods are %s: %s and %s", p.Name, before.UID, p.UID)
		}
		g.pods[p.Name] = p
	}
	if g.settled = g.settled || len(g.pods) == g.replicas; !g.settled {
		return
	}
	stay := 0
	for _, p := range g.pods {
		if p.DeletionTimestamp == nil && p.Annotations[v1alpha1.AnnotationDraining] == "" {
			stay++
		}
	}
	switch away := g.replicas - stay; {
	case len(g.pods) > g.replicas:
		g.note("%d pods, of %d servers", len(g.pods), g.replicas)
	case away > g.away:
		g.note("%d servers are away, of %d that may be, when %s was %s", away, g.away, p.Name, e.Type)
	default:
		g.most = max(g.most, away)
	}
}

func (g *guard) seePool(e watch.Event, pool string) {
	p, ok := e.Object.(*v1alpha1.RPCPool)
	if !ok || p.Name != pool || p.Status.ReadyReplicas == nil {
		return
	}
	if ready := int(*p.Status.ReadyReplicas); ready < g.replicas-g.away {
		g.breach("%d servers are offered or in a session, of %d that should be: %+v", ready, g.replicas-g.away, progress(&p.Status))
	}
}
