package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/api/v1alpha1"
)

// Input is one observation of a pool.
type Input struct {
	Now time.Time
	// Pool as the API server has it; its status is the one written last.
	Pool *v1alpha1.RPCPool
	// Revision of the pods that are wanted now ([v1alpha1.LabelRevision]).
	Revision string
	// Pods are all of the pool's, terminating and failed ones included.
	Pods []Pod
	// Tracker is what the pool's tracker says.
	Tracker Tracker
	// Refused is why the API server refused the last create; empty: it did not.
	Refused string
}

// Tracker is a pool's tracker as it is now.
type Tracker struct {
	// Address that clients connect to (HOST:PORT); empty: it does not listen.
	Address string
	// Reason and Message say why it does not listen, or what is wrong with it
	// (a reason of package v1alpha1); empty: nothing is.
	Reason, Message string
	// Settled: what it says about servers can be relied on, or does not matter. It must be false until
	// the tracker knows the holds of one plan: a pod that drains may be offered
	// before.
	Settled bool
	// Joining: of native calls, clients are told of new servers later, when those have come
	// back that its registry may have had before.
	Joining bool
	// Pending is the number of requests that wait for the pool's key.
	Pending int
}

// Pod is one pod of the pool and the server in it.
type Pod struct {
	Name     string
	UID      types.UID
	Ordinal  int
	Revision string
	Created  time.Time
	Node     string // empty: not scheduled

	Phase       corev1.PodPhase
	Terminating bool
	// Ready by the kubelet's word.
	Ready bool
	// Problem is why the pod does not start or has failed, for people: the
	// scheduler's message, the waiting reason of a container, the reason of a
	// failed pod. Empty: none is known.
	Problem string
	// Unschedulable: the scheduler found no node.
	Unschedulable bool
	// NodeGone: the pod's node does not exist any more. NodeCordoned: it takes no
	// new pods. NodeNotReady: its kubelet is silent.
	NodeGone, NodeCordoned, NodeNotReady bool
	// RetryAt: a failed pod is not replaced before.
	RetryAt time.Time
	// Draining is when its drain began; zero: it does not drain.
	Draining time.Time
	// Evictable is the present value of its label.
	Evictable bool

	// Server is what the tracker knows; nil: nothing. A server of native calls is not
	// known to it: what there is to know is whether its pod is ready.
	Server *Server
}

// ServerState is a server's state for planning.
type ServerState string

// States of servers. One that was granted to a client who has not come yet is
// busy: it may come at any moment.
const (
	ServerStarting    ServerState = "starting"
	ServerFree        ServerState = "free"
	ServerBusy        ServerState = "busy"
	ServerDraining    ServerState = "draining" // takes no new session, is in none
	ServerQuarantined ServerState = "quarantined"
	ServerLost        ServerState = "lost" // the tracker has not heard of it for a while
)

// Server is a pod's server, as the tracker knows it.
type Server struct {
	State ServerState
	Since time.Time
	// Client in a session, as HOST:PORT.
	Client string
	// Reason why it is not offered, in its own words.
	Reason string
	// RDMA is what is true of its RDMA devices.
	RDMA RDMA
}

// RDMA is what a server says of its RDMA devices.
type RDMA struct {
	// Reason is one of package v1alpha1's; empty: it has not said anything yet.
	Reason string
	// Message names device and circumstances, in the server's words.
	Message string
}

// Plan is what to do now. The caller holds the servers first, then writes.
type Plan struct {
	// Hold names the pods (by UID) whose servers are not to be offered, all of
	// them: one that is not listed any more is offered again.
	Hold []types.UID
	// Create lists the ordinals of pods to make, lowest first.
	Create []int
	// Drain and Undrain set and remove [v1alpha1.AnnotationDraining].
	Drain, Undrain []Ref
	// Evictable and NotEvictable set [v1alpha1.LabelEvictable].
	Evictable, NotEvictable []Ref
	// Delete lists the pods to delete.
	Delete []Deletion
	// Status is the whole new status. Conditions have their LastTransitionTime.
	Status v1alpha1.RPCPoolStatus
	// Events are what happened since the last status that is worth an event;
	// empty in a steady state.
	Events []Event
	// Wake is when to plan again although nothing happened; zero: no need.
	Wake time.Time
}

// Ref names one pod, and no later one of the same name.
type Ref struct {
	Name string
	UID  types.UID
}

// Deletion is one pod to delete.
type Deletion struct {
	Ref
	// Reason is one of package v1alpha1's, for the event.
	Reason string
	// Grace period in seconds; nil: the pod's own. 0 is for pods whose node is
	// gone: nobody is left to end them.
	Grace *int64
}

// Event is one event on the pool.
type Event struct {
	Type    string // corev1.EventTypeNormal or Warning
	Reason  string
	Action  string // what was done or tried, in UpperCamelCase, for events.k8s.io
	Message string
	// Done: the event is of what the plan does; else of what has changed in the
	// status, and worth telling only when the status is written.
	Done bool
}
