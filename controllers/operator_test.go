package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/controllers/trackers"
	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

var suite = kubetest.NewSuite()

func TestMain(m *testing.M) { suite.Main(m) }

const (
	patience  = 30 * time.Second
	userAgent = "rpcpool-operator"
)

// cluster is a namespace with an operator and a kubelet of its own. Every pod of a pool
// of sessions that runs has a server, which registers as a sidecar does.
type cluster struct {
	t         *testing.T
	server    *kubetest.Server
	api       client.Client
	namespace string
	kubelet   *kubetest.Kubelet
	registry  *prometheus.Registry
	stop      func() // the operator

	mu      sync.Mutex
	servers map[types.UID]*server
	left    bool // the test is over
}

// start makes a cluster. change may change the operator's options, and how it
// is known to the API server.
func start(t *testing.T, kubelet kubetest.KubeletOptions, change func(*controllers.Options, *rest.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, server: suite.Server(t), servers: map[types.UID]*server{}}
	c.namespace = c.server.Namespace(t)
	api, err := client.New(c.server.Admin.Config, client.Options{Scheme: controllers.ManagerOptions(nil).Scheme})
	if err != nil {
		t.Fatal(err)
	}
	c.api = client.NewNamespacedClient(api, c.namespace)
	kubelet.Namespace = c.namespace
	kubelet.OnRunning, kubelet.OnDeleting = c.running, c.deleting
	c.operate(change)
	c.kubelet = c.server.Kubelet(t, kubelet)
	t.Cleanup(c.leave)
	return c
}

// operate starts an operator for the cluster's namespace.
func (c *cluster) operate(change func(*controllers.Options, *rest.Config)) {
	c.t.Helper()
	c.registry = prometheus.NewRegistry()
	o := controllers.Options{
		Settings:    build.Settings{Image: "rpcpool:test"},
		Trackers:    trackers.Options{Host: "127.0.0.1", Settle: 100 * time.Millisecond},
		TrackerHost: "192.0.2.1", // an EndpointSlice takes no loopback address
		Nodes:       true, Registerer: c.registry, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	as := rest.CopyConfig(c.server.Admin.Config)
	as.UserAgent = userAgent + "/" + c.namespace
	if change != nil {
		change(&o, as)
	}
	mo := controllers.ManagerOptions([]string{c.namespace})
	mo.Metrics = metricsserver.Options{BindAddress: "0"}
	again := true // each test has an operator
	mo.Controller = config.Controller{SkipNameValidation: &again}
	mgr, err := manager.New(as, mo)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := controllers.Setup(ctx, mgr, o); err != nil {
		cancel()
		c.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("operator: %v", err)
		}
	})
	c.t.Cleanup(c.stop)
}

// running starts the server of a pod.
func (c *cluster) running(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || c.servers[pod.UID] != nil || slices.Contains(pod.Spec.InitContainers[1].Command, "rpc") {
		return // a server of native calls is none of the tracker's
	}
	s := newServer(pod, c.dial)
	c.servers[pod.UID] = s
	go s.run()
}

// deleting is the kubelet's SIGTERM.
func (c *cluster) deleting(pod *corev1.Pod) {
	c.mu.Lock()
	s := c.servers[pod.UID]
	delete(c.servers, pod.UID)
	c.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

func (c *cluster) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	for _, s := range c.servers {
		s.stop()
	}
}

// dial connects to the tracker, as its Service would.
func (c *cluster) dial(ctx context.Context) (*tracker.Client, error) {
	slice := &discoveryv1.EndpointSlice{}
	if err := c.api.Get(ctx, client.ObjectKey{Name: "rpcpool-tracker"}, slice); err != nil {
		return nil, err
	}
	return tracker.Dial(ctx, net.JoinHostPort("127.0.0.1", fmt.Sprint(*slice.Ports[0].Port)))
}

func (c *cluster) eventually(what string, check func(context.Context) error) {
	c.t.Helper()
	c.t.Logf("waiting for %s", what)
	kubetest.Eventually(c.t, patience, check)
}

// pool returns the manifest of a pool of our own image.
func pool(name string, replicas int32) *v1alpha1.RPCPool {
	p := &v1alpha1.RPCPool{}
	p.Name = name
	p.Spec.Replicas = &replicas
	p.Spec.Server.Command = []string{"rpcpool-worker"}
	return p
}

func (c *cluster) create(o client.Object) {
	c.t.Helper()
	if err := c.api.Create(context.Background(), o); err != nil {
		c.t.Fatal(err)
	}
}

// change changes the pool's manifest.
func (c *cluster) change(name string, change func(*v1alpha1.RPCPoolSpec)) {
	c.t.Helper()
	c.eventually("the change of "+name, func(ctx context.Context) error {
		p := &v1alpha1.RPCPool{}
		if err := c.api.Get(ctx, client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		change(&p.Spec)
		return c.api.Update(ctx, p)
	})
}

// await waits for a status.
func (c *cluster) await(name, what string, is func(*v1alpha1.RPCPoolStatus) bool) *v1alpha1.RPCPool {
	c.t.Helper()
	p := &v1alpha1.RPCPool{}
	c.eventually(what, func(ctx context.Context) error {
		if err := c.api.Get(ctx, client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		if p.Status.ObservedGeneration != p.Generation || !is(&p.Status) {
			text, _ := json.MarshalIndent(p.Status, "", " ")
			return fmt.Errorf("generation %d, status %s", p.Generation, text)
		}
		return nil
	})
	return p
}

// awaitFree waits until a pool has n servers, all free.
func (c *cluster) awaitFree(name string, n int32) *v1alpha1.RPCPool {
	c.t.Helper()
	return c.await(name, fmt.Sprintf("%d free servers", n), func(s *v1alpha1.RPCPoolStatus) bool {
		return is(s.Free, n) && is(s.Replicas, n) && is(s.ReadyReplicas, n) && holds(s, v1alpha1.ConditionReady, v1alpha1.ReasonAllServersReady) &&
			holds(s, v1alpha1.ConditionProgressing, v1alpha1.ReasonUpToDate)
	})
}

// awaitEvents waits for events of all the reasons. Each is sent on its own, so
// those of one reconcile arrive in any order.
func (c *cluster) awaitEvents(reasons ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprint("the events ", reasons), func(ctx context.Context) error {
		events := &eventsv1.EventList{}
		if err := c.api.List(ctx, events); err != nil {
			return err
		}
		missing := sets.New(reasons...)
		for i := range events.Items {
			missing.Delete(events.Items[i].Reason)
		}
		if missing.Len() > 0 {
			return fmt.Errorf("no %v", sets.List(missing))
		}
		return nil
	})
}

// awaitSettled waits until a new pool has that many free servers and its story
// has been told in full.
func (c *cluster) awaitSettled(name string, free int32) {
	c.t.Helper()
	c.awaitFree(name, free)
	c.awaitEvents(v1alpha1.ReasonScalingUp, v1alpha1.ReasonUpToDate, v1alpha1.ReasonAllServersReady, v1alpha1.ReasonListening)
}

func is(n *int32, want int32) bool { return n != nil && *n == want }

// holds tells whether a condition has a reason.
func holds(s *v1alpha1.RPCPoolStatus, kind, reason string) bool {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Reason == reason
		}
	}
	return false
}

func message(s *v1alpha1.RPCPoolStatus, kind string) string {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}

// pods returns the names and UIDs of all pods.
func (c *cluster) pods() map[string]corev1.Pod {
	c.t.Helper()
	list := &corev1.PodList{}
	if err := c.api.List(context.Background(), list); err != nil {
		c.t.Fatal(err)
	}
	pods := map[string]corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = list.Items[i]
	}
	return pods
}

// request asks the tracker for a server, and returns the pod that it is in.
func (c *cluster) request(key string) *server {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	grant, err := conn.Request(ctx, key, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		if s.enter(grant.MatchKey) {
			return s
		}
	}
	c.t.Fatalf("nobody knows ticket %s", grant.MatchKey)
	return nil
}

// denied tells that a request is not granted: it gives up after a moment.
func (c *cluster) pending(ctx context.Context, key string) {
	c.t.Helper()
	conn, err := c.dial(ctx)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer conn.Close()
	if _, err := conn.Request(ctx, key, 1); err == nil {
		c.t.Errorf("a server of %s was granted", key)
	}
}

// server is the server in a pod, as the tracker sees a sidecar.
type server struct {
	name, uid, key string
	dial           func(context.Context) (*tracker.Client, error)
	stop           context.CancelFunc
	ctx            context.Context

	mu      sync.Mutex
	tickets map[string]bool
	state   tvm.NativeState
	rdma    *tvm.RDMAInfo // nil: it says nothing
	news    chan struct{}
}

func newServer(pod *corev1.Pod, dial func(context.Context) (*tracker.Client, error)) *server {
	s := &server{
		name: pod.Name, uid: string(pod.UID), key: pod.Labels[v1alpha1.LabelPool],
		dial: dial, tickets: map[string]bool{}, state: tvm.StateFree, news: make(chan struct{}, 1),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// run keeps the server registered.
func (s *server) run() {
	for s.ctx.Err() == nil {
		conn, err := s.dial(s.ctx)
		if err == nil {
			err = s.register(conn)
			_ = conn.Close()
		}
		if err != nil {
			select {
			case <-s.ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

func (s *server) register(conn *tracker.Client) error {
	poll := time.NewTicker(2 * time.Second)
	defer poll.Stop()
	for {
		if err := s.tell(conn); err != nil {
			return err
		}
		for told := false; !told; {
			select {
			case <-s.ctx.Done():
				return s.ctx.Err()
			case <-conn.Gone():
				return net.ErrClosed
			case <-s.news:
				told = true
			case <-poll.C:
				if _, err := conn.Pending(s.ctx); err != nil {
					return err
				}
			}
		}
	}
}

func (s *server) tell(conn *tracker.Client) error {
	s.mu.Lock()
	state := s.state
	info := tvm.NewUpdateInfo(s.key, "", 9090)
	var session *tvm.SessionInfo
	if state == tvm.StateBusy {
		session = &tvm.SessionInfo{ID: "s", Client: "198.51.100.1:7"}
	}
	info.SetState(state, session)
	info.Info[tvm.FieldName], info.Info[tvm.FieldInstance] = quote(s.name), quote(s.uid)
	if s.rdma != nil {
		info.Info[tvm.FieldRDMA], _ = json.Marshal(s.rdma) // cannot fail
	}
	s.mu.Unlock()
	if err := conn.UpdateInfo(s.ctx, info); err != nil || state != tvm.StateFree {
		return err
	}
	s.mu.Lock()
	ticket := fmt.Sprintf("%s:%s-%d", s.key, s.uid, len(s.tickets))
	s.tickets[ticket] = true
	put := tvm.Put{Key: s.key, Port: []byte("9090"), MatchKey: ticket}
	s.mu.Unlock()
	return conn.Put(s.ctx, put)
}

func quote(s string) json.RawMessage {
	b, _ := json.Marshal(s) // strings always marshal
	return b
}

// enter begins a session for whoever shows the ticket.
func (s *server) enter(ticket string) bool {
	s.mu.Lock()
	mine := s.tickets[ticket]
	s.mu.Unlock()
	if mine {
		s.become(tvm.StateBusy)
	}
	return mine
}

// become changes the state that the tracker is told.
func (s *server) become(state tvm.NativeState) {
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// says changes what the server of a pod tells of its RDMA devices, and its state.
func (c *cluster) says(pod string, state tvm.NativeState, reason, message string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		if s.name == pod {
			s.mu.Lock()
			s.rdma = &tvm.RDMAInfo{Reason: reason, Message: message}
			s.mu.Unlock()
			s.become(state)
			return
		}
	}
	c.t.Fatalf("no server in pod %s", pod)
}

func deletePod(name string, c *cluster) {
	c.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.api.Delete(context.Background(), pod); err != nil {
		c.t.Fatal(err)
	}
}
