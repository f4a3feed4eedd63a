package kubetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// KubeletAgent is the user agent of simulated kubelets in the audit log.
const KubeletAgent = "fake-kubelet"

// KubeletOptions are what a simulated kubelet does.
type KubeletOptions struct {
	// Namespace whose pods it takes; default: all.
	Namespace string
	// Selector of labels of the pods that it takes; default: all.
	Selector string
	// Nodes it stands for. Pods are bound to them in turn. Those that do not
	// exist are made, and removed by Stop. Default: one, named after the
	// namespace.
	Nodes []string
	// Workers is how many pods it sees to at once; default: 16.
	Workers int
	// PodIP of a pod; default: 127.0.0.1.
	PodIP func(*corev1.Pod) string
	// Fate of a pod whose fate was not set by [Kubelet.Set]; default: Running.
	// It is asked whenever the pod has changed, and on [Kubelet.Resync].
	Fate func(*corev1.Pod) Fate
	// TerminationDelay is how long pods take to end when they are deleted, but
	// not longer than their grace period.
	TerminationDelay time.Duration
	// OnRunning is called when a pod's status has become Running and ready, with
	// the pod as it is then. It must not block.
	OnRunning func(*corev1.Pod)
	// OnDeleting is called once in a pod's life: when its deletion begins, or it
	// has vanished. It must not block.
	OnDeleting func(*corev1.Pod)
}

// Kubelet is the scheduler and all kubelets of a cluster, as far as the API
// server can tell: it binds pods to nodes, writes their status, and removes
// those that are deleted. That is three requests in a pod's life.
type Kubelet struct {
	o        KubeletOptions
	client   *coreclient.CoreV1Client
	requests *atomic.Int64
	made     []string // nodes that are ours
	next     atomic.Uint64
	store    cache.Store
	queue    workqueue.TypedDelayingInterface[string]
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu    sync.Mutex
	lives map[types.UID]*life
	fates map[types.UID]Fate
}

// life is what was done about a pod. One worker at a time has it.
type life struct {
	node     string // that it was bound to
	written  *Fate  // last
	deleting time.Time
	removed  bool // we have asked for it; the API server says so a little later
}

// StartKubelet starts a simulated kubelet. ctx is for the start only: call
// Stop.
func (s *Server) StartKubelet(ctx context.Context, o KubeletOptions) (*Kubelet, error) {
	const workers = 16
	if o.Workers == 0 {
		o.Workers = workers
	}
	if len(o.Nodes) == 0 {
		o.Nodes = []string{"node-" + or(o.Namespace, "of-all")}
	}
	if o.PodIP == nil {
		o.PodIP = func(*corev1.Pod) string { return "127.0.0.1" }
	}
	if o.Fate == nil {
		o.Fate = func(*corev1.Pod) Fate { return Fate{} }
	}
	config := protobuf(s.Admin.Config, KubeletAgent)
	requests := &atomic.Int64{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, requests} })
	client, err := coreclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the kubelet: %w", err)
	}
	k := &Kubelet{
		o: o, client: client, requests: requests,
		queue: workqueue.NewTypedDelayingQueue[string](),
		lives: map[types.UID]*life{}, fates: map[types.UID]Fate{},
	}
	if err := k.makeNodes(ctx); err != nil {
		k.queue.ShutDown()
		return nil, errors.Join(err, k.removeNodes())
	}
	k.run(context.WithoutCancel(ctx))
	return k, nil
}

// counter counts requests.
type counter struct {
	http.RoundTripper
	n *atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// run starts the watch and the workers.
func (k *Kubelet) run(ctx context.Context) {
	ctx, k.stop = context.WithCancel(ctx)
	pods := cache.NewFilteredListWatchFromClient(k.client.RESTClient(), "pods", k.o.Namespace,
		func(o *metav1.ListOptions) { o.LabelSelector = k.o.Selector })
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: pods,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    k.enqueue,
			UpdateFunc: func(_, pod any) { k.enqueue(pod) },
			DeleteFunc: k.forget,
		},
	})
	k.store = store
	k.done.Go(func() { controller.RunWithContext(ctx) })
	for range k.o.Workers {
		k.done.Go(func() { k.work(ctx) })
	}
}

// Stop ends the simulation and removes the nodes that it has made. Pods stay as
// they are.
func (k *Kubelet) Stop() error {
	k.stop()
	k.queue.ShutDown()
	k.done.Wait()
	return k.removeNodes()
}

// Requests is how many requests it has sent, watches and those that failed
// included.
func (k *Kubelet) Requests() int64 { return k.requests.Load() }

// Set changes the fate of this pod, and of no later one of its name. What has
// failed stays so.
func (k *Kubelet) Set(pod *corev1.Pod, f Fate) {
	k.mu.Lock()
	k.fates[pod.UID] = f
	k.mu.Unlock()
	k.enqueue(pod)
}

// Resync asks Fate again for every pod.
func (k *Kubelet) Resync() {
	for _, pod := range k.store.List() {
		k.enqueue(pod)
	}
}

func (k *Kubelet) enqueue(pod any) {
	if key, err := cache.MetaNamespaceKeyFunc(pod); err == nil {
		k.queue.Add(key)
	}
}

// forget sees to a pod that is gone.
func (k *Kubelet) forget(o any) {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	l := k.lives[pod.UID]
	told := l == nil || !l.deleting.IsZero()
	delete(k.lives, pod.UID)
	delete(k.fates, pod.UID)
	k.mu.Unlock()
	if !told && k.o.OnDeleting != nil {
		k.o.OnDeleting(pod)
	}
	k.enqueue(pod) // another one may have its name by now
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		key, ended := k.queue.Get()
		if ended {
			return
		}
		after, err := k.sync(ctx, key)
		if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
			const pause = 100 * time.Millisecond // the API server is busy, or the pod is another one by now
			after = pause
		}
		k.queue.Done(key)
		if after > 0 {
			k.queue.AddAfter(key, after)
		}
	}
}

// sync does what is due about one pod. It returns when to look again.
func (k *Kubelet) sync(ctx context.Context, key string) (after time.Duration, err error) {
	o, exists, err := k.store.GetByKey(key)
	if err != nil || !exists {
		return 0, err
	}
	pod := o.(*corev1.Pod)
	l, fate := k.look(pod)
	switch {
	case fate.State == Silent:
		return 0, nil
	case pod.DeletionTimestamp != nil:
		return k.terminate(ctx, pod, l)
	case pod.Status.Phase == corev1.PodFailed, l.written != nil && *l.written == fate:
		return 0, nil
	}
	if l.node == "" && fate.State != Unschedulable {
		if err := k.bind(ctx, pod, l); err != nil {
			return 0, err
		}
	}
	return 0, k.write(ctx, pod, l, fate)
}

// look finds what was done about a pod, and what it is to become.
func (k *Kubelet) look(pod *corev1.Pod) (*life, Fate) {
	k.mu.Lock()
	l := k.lives[pod.UID]
	if l == nil {
		l = &life{node: pod.Spec.NodeName}
		k.lives[pod.UID] = l
	}
	fate, set := k.fates[pod.UID]
	k.mu.Unlock()
	if !set {
		fate = k.o.Fate(pod)
	}
	fate.State = State(or(string(fate.State), string(Running)))
	if fate.State == Unschedulable && l.node != "" { // too late
		fate = Fate{State: Running}
	}
	return l, fate
}

func (k *Kubelet) bind(ctx context.Context, pod *corev1.Pod, l *life) error {
	node := k.o.Nodes[k.next.Add(1)%uint64(len(k.o.Nodes))]
	err := k.client.Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	l.node = node
	return nil
}

// terminate removes a pod that is being deleted, when its containers have had
// the time to end.
func (k *Kubelet) terminate(ctx context.Context, pod *corev1.Pod, l *life) (after time.Duration, err error) {
	k.mu.Lock()
	first := l.deleting.IsZero()
	if first {
		l.deleting = time.Now()
	}
	left := time.Until(l.deleting.Add(k.delay(pod)))
	k.mu.Unlock()
	if first && k.o.OnDeleting != nil {
		k.o.OnDeleting(pod)
	}
	if left > 0 || l.removed {
		return max(0, left), nil
	}
	now := int64(0)
	err = k.client.Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsConflict(err) { // conflict: another one has its name by now
		return 0, fmt.Errorf("remove: %w", err)
	}
	l.removed = true
	return 0, nil
}

func (k *Kubelet) delay(pod *corev1.Pod) time.Duration {
	grace := k.o.TerminationDelay
	if seconds := pod.DeletionGracePeriodSeconds; seconds != nil {
		grace = min(grace, time.Duration(*seconds)*time.Second)
	}
	return grace
}
