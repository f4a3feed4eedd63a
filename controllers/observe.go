package controllers

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/plan"
	"rpcpool.dev/controllers/trackers"
	"rpcpool.dev/rpc/naming"
	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// nodeSettled is how long a node must have been missing before its pods are
// given up: a node may be registered anew, and its containers run on meanwhile.
const nodeSettled = time.Minute

// betweenSessions is how long the next worker of a server may take to start
// before the server counts as one that is not offered.
const betweenSessions = 15 * time.Second

// observe gathers what a plan is made from. Whatever cannot be read is an
// error: a failed list is never an empty one.
func (r *Pools) observe(ctx context.Context, pool *v1alpha1.RPCPool, m *memory) (plan.Input, error) {
	in := plan.Input{Now: r.Now(), Pool: pool, Refused: m.refused}
	var err error
	if in.Revision, err = build.Revision(pool, r.Settings); err != nil {
		return in, fmt.Errorf("revision: %w", err)
	}
	id := trackerOf(pool)
	t := r.Trackers.Get(id)
	in.Tracker = r.Addresses.of(pool)
	servers := map[string][]tracker.ServerStatus{}
	switch {
	case pool.Spec.NativeCalls(): // who is ready is the kubelets' to say, and nobody is held
		in.Tracker.Settled, in.Tracker.Joining = true, in.Tracker.Address != "" && !r.Trackers.Joins(id)
	case t == nil:
		in.Tracker.Settled = false
	default:
		// A tracker that has just started does not know yet who is to be held: what
		// it says counts after it has been told.
		in.Tracker.Settled = in.Tracker.Settled && t.Settled() && m.heldAt == t
		in.Tracker.Pending = t.Pending(pool.DeviceKey())
		for _, s := range t.ServersOf(pool.DeviceKey()) {
			servers[s.Instance] = append(servers[s.Instance], s)
		}
	}
	noteOf := r.notes(pool)
	nodes := nodeReader{Pools: r, now: in.Now, known: map[string]nodeState{}}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.InNamespace(pool.Namespace),
		client.MatchingLabels{v1alpha1.LabelPool: pool.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return in, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		p, ours := podOf(pool, pod)
		if !ours {
			continue
		}
		if err := nodes.observe(ctx, &p); err != nil {
			return in, err
		}
		if p.Phase == corev1.PodFailed || p.Phase == corev1.PodSucceeded {
			p.RetryAt = m.retryAt(&p, in.Now)
		}
		if pool.Spec.NativeCalls() {
			p.Server = callsServer(&p, noteOf(&p))
		} else if s := speaker(servers[string(p.UID)], pod); s != nil {
			p.Server = serverOf(*s, p.Ready, in.Now)
			r.warnOfTranslation(pool, m, s, pod)
		}
		in.Pods = append(in.Pods, p)
	}
	return in, nil
}

// trackerOf names the pool's tracker.
func trackerOf(pool *v1alpha1.RPCPool) trackers.ID {
	return trackers.ID{Namespace: pool.Namespace, Name: pool.Spec.Tracker.Name}
}

// podOf is what the pod itself tells. ours is false for pods that only look as
// if they belonged to the pool; but one of an earlier pool of the same name
// still has its name and its device, so it counts as one that terminates.
func podOf(pool *v1alpha1.RPCPool, pod *corev1.Pod) (p plan.Pod, ours bool) {
	ordinal, ok := build.Ordinal(pool.Name, pod.Name)
	owner := metav1.GetControllerOf(pod)
	if !ok || owner == nil || owner.Kind != v1alpha1.Kind || owner.Name != pool.Name {
		return p, false
	}
	p = plan.Pod{
		Name: pod.Name, UID: pod.UID, Ordinal: ordinal,
		Revision: pod.Labels[v1alpha1.LabelRevision], Evictable: pod.Labels[v1alpha1.LabelEvictable] == v1alpha1.Evictable,
		Created: pod.CreationTimestamp.Time, Node: pod.Spec.NodeName,
		Phase: pod.Status.Phase, Terminating: pod.DeletionTimestamp != nil || owner.UID != pool.UID,
		Ready: podReady(pod),
	}
	p.Problem, p.Unschedulable = problem(pod)
	if at, err := time.Parse(time.RFC3339, pod.Annotations[v1alpha1.AnnotationDraining]); err == nil {
		p.Draining = at
	}
	return p, true
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// problem says why a pod does not start or has failed, in the words of who
// knows: its scheduler, its kubelet, its containers' runtime.
func problem(pod *corev1.Pod) (text string, unschedulable bool) {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return sentence(pod.Status.Reason, pod.Status.Message, string(pod.Status.Phase)), false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return sentence("", c.Message, c.Reason), true
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if text := waiting(&statuses[i]); text != "" {
				return text, false
			}
		}
	}
	return "", false
}

// waiting is why a container does not run, if that is more than that it has not
// started yet.
func waiting(s *corev1.ContainerStatus) string {
	w := s.State.Waiting
	if w == nil || slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, w.Reason) {
		return ""
	}
	return "container " + s.Name + ": " + sentence(w.Reason, w.Message, "")
}

// sentence joins a reason and a message; either may be empty.
func sentence(reason, message, otherwise string) string {
	switch {
	case reason != "" && message != "":
		return reason + ": " + message
	case reason != "" || message != "":
		return reason + message
	default:
		return otherwise
	}
}

// nodeReader reads each node once.
type nodeReader struct {
	*Pools
	now   time.Time
	known map[string]nodeState
}

type nodeState struct{ gone, cordoned, silent bool }

// observe adds what the pod's node tells. A node that the cache does not have is
// asked for at the API server: a pod is not given up because a cache is behind.
func (r *nodeReader) observe(ctx context.Context, p *plan.Pod) error {
	if !r.Nodes || p.Node == "" {
		return nil
	}
	state, ok := r.known[p.Node]
	if !ok {
		var err error
		if state, err = r.read(ctx, p); err != nil {
			return fmt.Errorf("get node %s: %w", p.Node, err)
		}
		r.known[p.Node] = state
	}
	p.NodeGone = state.gone && r.missing(p.Node) > nodeSettled
	p.NodeCordoned, p.NodeNotReady = state.cordoned, state.silent
	return nil
}

// missing tells for how long a node has been missing.
func (r *nodeReader) missing(node string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.absent == nil {
		r.absent = map[string]time.Time{}
	}
	if _, ok := r.absent[node]; !ok {
		r.absent[node] = r.now
	}
	return r.now.Sub(r.absent[node])
}

// present notes that a node is there.
func (r *nodeReader) present(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.absent, node)
}

func (r *nodeReader) read(ctx context.Context, p *plan.Pod) (nodeState, error) {
	node := &corev1.Node{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: p.Node}, node)
	if apierrors.IsNotFound(err) {
		err = r.Live.Get(ctx, client.ObjectKey{Name: p.Node}, node)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nodeState{gone: true}, nil
	case err != nil:
		return nodeState{}, err
	}
	r.present(p.Node)
	return nodeState{cordoned: cordoned(node), silent: silent(node)}, nil
}

// Taints of nodes that are about to go: their pods are evicted next.
var leaving = [...]string{"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "node.kubernetes.io/out-of-service"}

func cordoned(node *corev1.Node) bool {
	return node.Spec.Unschedulable || slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return slices.Contains(leaving[:], t.Key)
	})
}

// silent tells whether the node's kubelet has not been heard of for so long
// that the node counts as lost.
func silent(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
}

// retry is when a failed pod is replaced.
type retry struct {
	uid      types.UID
	at       time.Time
	failures int // in a row
}

// retryAt is when the failed pod p may be replaced: at once the first time,
// later and later if its successors fail as well.
func (m *memory) retryAt(p *plan.Pod, now time.Time) time.Time {
	last := m.retries[p.Name]
	if last.uid == p.UID {
		return last.at
	}
	next := retry{uid: p.UID, at: now}
	if last.uid != "" && now.Sub(last.at) < failedForget {
		next.failures = last.failures + 1
		next.at = now.Add(min(failedMin<<min(last.failures, failedShifts), failedMax))
	}
	m.retries[p.Name] = next
	return next.at
}

// speaker returns which of the servers that say they are in a pod is: the one
// that comes from the pod's address. Whoever can connect to a tracker can say
// anything, but only from an address of its own. Where addresses are translated
// on the way no server comes from its pod's, and the last that registered counts.
func speaker(servers []tracker.ServerStatus, pod *corev1.Pod) (speaks *tracker.ServerStatus) {
	for i := range servers {
		if fromPod(&servers[i], pod) || speaks == nil || !fromPod(speaks, pod) {
			speaks = &servers[i]
		}
	}
	return speaks
}

func fromPod(s *tracker.ServerStatus, pod *corev1.Pod) bool {
	host := net.ParseIP(s.Host)
	return host == nil || slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool {
		return host.Equal(net.ParseIP(ip.IP))
	})
}

// warnOfTranslation tells once a pool that addresses are translated between pods
// and trackers.
func (r *Pools) warnOfTranslation(pool *v1alpha1.RPCPool, m *memory, s *tracker.ServerStatus, pod *corev1.Pod) {
	if m.warned || len(pod.Status.PodIPs) == 0 || fromPod(s, pod) {
		return
	}
	m.warned = true
	r.tell(pool, []plan.Event{{
		Done: true, Type: corev1.EventTypeWarning, Reason: v1alpha1.ReasonAddressTranslated, Action: "Observe",
		Message: fmt.Sprintf("the server of pod %s comes from %s, not from the pod's address %s: fair share takes clients that come by one address for one",
			pod.Name, s.Host, pod.Status.PodIPs[0].IP),
	}}, true)
}

// notes tells what the server of native calls in a pod says of itself. The registry is looked
// at once, and not at all where there is nothing to be told.
func (r *Pools) notes(pool *v1alpha1.RPCPool) func(*plan.Pod) string {
	all := sync.OnceValue(func() map[string]string { return r.Trackers.Notes(trackerOf(pool)) })
	return func(p *plan.Pod) string {
		if p.Ready && !pool.Spec.RDMA.Wanted() {
			return ""
		}
		return all()[p.Name+"/"+string(p.UID)]
	}
}

// callsServer is the server of native calls in a pod: free as long as its kubelet finds
// it ready, starting before; nil: it does not run. Why it is not ready is the word of its
// workers; what it says of its RDMA devices is a reason, a colon, and circumstances.
func callsServer(p *plan.Pod, note string) *plan.Server {
	said := naming.ParseNote(note)
	reason, message, _ := strings.Cut(said.Devices, ": ")
	s := &plan.Server{State: plan.ServerStarting, RDMA: rdmaOf(tvm.RDMAInfo{Reason: reason, Message: message})}
	switch {
	case p.Phase != corev1.PodRunning:
		return nil
	case p.Ready:
		s.State = plan.ServerFree
	case said.Workers != "":
		s.Reason = "workers " + said.Workers
	}
	return s
}

func serverOf(s tracker.ServerStatus, ready bool, now time.Time) *plan.Server {
	return &plan.Server{State: stateOf(s, ready, now), Since: s.Since, Client: s.Client, Reason: s.Reason, RDMA: rdmaOf(s.RDMA)}
}

// rdmaOf takes nobody's word for a reason that is not one of ours.
func rdmaOf(said tvm.RDMAInfo) plan.RDMA {
	if !slices.Contains(rdma.Reasons(), rdma.Reason(said.Reason)) {
		return plan.RDMA{}
	}
	return plan.RDMA{Reason: said.Reason, Message: said.Message}
}

// stateOf is the state of a server whose pod is ready, by the kubelet's word, or
// not. Between two sessions a server starts a worker, and is as good as busy: it
// is neither news that it is not offered for a moment, nor a time to delete it.
func stateOf(s tracker.ServerStatus, ready bool, now time.Time) plan.ServerState {
	switch {
	case s.State == tracker.StateGranted || s.State == tracker.StateBusy:
		return plan.ServerBusy
	case s.State == tracker.StateStarting && ready && now.Sub(s.Since) < betweenSessions:
		return plan.ServerBusy
	case s.State == tracker.StateHung:
		return plan.ServerLost
	default: // the others have the same names
		return plan.ServerState(s.State)
	}
}
