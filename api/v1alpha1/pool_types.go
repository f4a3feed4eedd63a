package v1alpha1

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// RDMAMode says whether servers get RDMA devices.
//
// +kubebuilder:validation:Enum=Off;Auto;Required
type RDMAMode string

// RDMA modes.
const (
	// RDMAOff uses none.
	RDMAOff RDMAMode = "Off"
	// RDMAAuto uses RDMA where both ends have it, TCP elsewhere.
	RDMAAuto RDMAMode = "Auto"
	// RDMARequired refuses to serve without it: a server that cannot use its devices
	// is quarantined.
	RDMARequired RDMAMode = "Required"
)

// RDMASpec asks for RDMA devices (SR-IOV virtual functions) for the servers.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'Off' || has(self.resourceName) || has(self.claim)",message="is required unless mode is Off or there is a claim",fieldPath=".resourceName",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="!has(self.resourceName) || !has(self.claim)",message="must not be there beside resourceName",fieldPath=".claim",reason=FieldValueForbidden
type RDMASpec struct {
	// mode is Off, Auto (where both ends have a device, else TCP) or Required (a
	// server that cannot use its devices is not offered).
	// +optional
	// +kubebuilder:default=Auto
	Mode RDMAMode `json:"mode,omitempty"`

	// resourceName is the extended resource of the virtual functions, such as
	// openshift.io/rdma_vf, which the SR-IOV network device plugin offers. Required
	// unless mode is Off or there is a claim.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')`,message="must be an extended resource's name, such as openshift.io/rdma_vf"
	ResourceName string `json:"resourceName,omitempty"`

	// claim asks for the devices by dynamic resource allocation, in the place of
	// resourceName.
	// +optional
	Claim *RDMAClaim `json:"claim,omitempty"`

	// count of virtual functions for each server. With claim.templateName it must
	// be what the template asks for.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Count int32 `json:"count,omitempty"`

	// networks are the NetworkAttachmentDefinitions to attach: a name, or a
	// namespace and a name with a slash between.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Networks []string `json:"networks,omitempty"`

	// trafficClass is in the headers of the servers' packets (DSCP times four), by
	// which switches choose a queue, such as 104. With protocol RPC. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	TrafficClass *int32 `json:"trafficClass,omitempty"`

	// serviceLevel of the servers' packets: on InfiniBand the service level, on
	// Ethernet the priority in a VLAN's tag. With protocol RPC. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=15
	ServiceLevel *int32 `json:"serviceLevel,omitempty"`
}

// RDMAClaim says which devices a server claims. It needs a cluster that serves
// resource.k8s.io/v1.
//
// +kubebuilder:validation:XValidation:rule="has(self.templateName) != has(self.deviceClassName)",message="must have either templateName or deviceClassName"
type RDMAClaim struct {
	// templateName is a ResourceClaimTemplate in the pool's namespace, from which
	// each server's claim is made.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	TemplateName string `json:"templateName,omitempty"`

	// deviceClassName is the DeviceClass of which each server claims count
	// devices. The operator makes the template.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	DeviceClassName string `json:"deviceClassName,omitempty"`
}

// Wanted tells whether servers are to have RDMA devices. A nil RDMASpec wants none.
func (r *RDMASpec) Wanted() bool { return r != nil && r.Mode != RDMAOff }

// RolloutSpec says how a changed template reaches the pods.
type RolloutSpec struct {
	// maxUnavailable is how many servers may be neither offered nor in a session
	// at a time: a number, or a percentage of replicas, rounded up.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="must be a number of at least 1, or a percentage from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// drainTimeout is how long a server that must go may finish its session, or its
	// calls, before they are killed. A duration from 0 to 168h, such as 10m.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) <= duration('168h')`,message="must be a duration from 0 to 168h, such as 10m or 1h30m"
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`
}

// DisruptionBudget says which evictions of a pool's pods are refused.
//
// +kubebuilder:validation:Enum=Busy;None
type DisruptionBudget string

// Disruption budgets.
const (
	// DisruptionBudgetBusy protects sessions.
	DisruptionBudgetBusy DisruptionBudget = "Busy"
	// DisruptionBudgetNone protects nothing.
	DisruptionBudgetNone DisruptionBudget = "None"
)

// NetworkPolicySpec says who may connect to a pool's servers. What the servers
// connect to is not restricted.
type NetworkPolicySpec struct {
	// clients may connect to the servers' port. Default: all pods of the pool's
	// namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(p, has(p.ipBlock) != (has(p.podSelector) || has(p.namespaceSelector)))",message="must each have either ipBlock, or podSelector and namespaceSelector or one of them"
	// +kubebuilder:validation:XValidation:rule="self.all(p, !has(p.ipBlock) || isCIDR(p.ipBlock.cidr))",message="must each have a network for an ipBlock's cidr, such as 10.0.0.0/8"
	Clients []networkingv1.NetworkPolicyPeer `json:"clients,omitempty"`

	// metrics may connect to the sidecars' metrics port. Default: everybody; the
	// kubelet's probes need no rule.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(p, has(p.ipBlock) != (has(p.podSelector) || has(p.namespaceSelector)))",message="must each have either ipBlock, or podSelector and namespaceSelector or one of them"
	// +kubebuilder:validation:XValidation:rule="self.all(p, !has(p.ipBlock) || isCIDR(p.ipBlock.cidr))",message="must each have a network for an ipBlock's cidr, such as 10.0.0.0/8"
	Metrics []networkingv1.NetworkPolicyPeer `json:"metrics,omitempty"`
}

// RPCPoolStatus is what was observed last.
type RPCPoolStatus struct {
	// conditions are Ready, Progressing, TrackerReady and RDMAReady.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// key is the device key in force: spec.key, or the pool's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key,omitempty"`

	// replicas is the number of pods that exist.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// readyReplicas is the number of servers offered or in a session.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`

	// free is the number of servers that wait for a client; with protocol RPC, of
	// those that are ready for calls.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Free *int32 `json:"free,omitempty"`

	// busy is the number of servers in a session; with protocol RPC, 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Busy *int32 `json:"busy,omitempty"`

	// quarantined is the number of servers withdrawn because their workers keep
	// failing, a device hangs, or RDMA is required and cannot be used.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Quarantined *int32 `json:"quarantined,omitempty"`

	// draining is the number of pods that finish their sessions and then go.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Draining *int32 `json:"draining,omitempty"`

	// revision of the pods that are wanted: the value of their label
	// rpcpool.dev/revision.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Revision string `json:"revision,omitempty"`

	// updatedReplicas is the number of pods of that revision. A rollout is over
	// when it is replicas and spec.replicas.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UpdatedReplicas *int32 `json:"updatedReplicas,omitempty"`

	// pendingRequests is the number of clients that wait for a server.
	// +optional
	// +kubebuilder:validation:Minimum=0
	PendingRequests *int32 `json:"pendingRequests,omitempty"`

	// tracker is where clients connect.
	// +optional
	Tracker *TrackerStatus `json:"tracker,omitempty"`

	// selector finds the pool's pods, for the scale subresource.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Selector string `json:"selector,omitempty"`
}

// TrackerStatus says where the tracker is.
type TrackerStatus struct {
	// address that clients connect to, as HOST:PORT.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	Address string `json:"address,omitempty"`
}

// Types of conditions.
const (
	// ConditionReady: every server asked for is offered or in a session.
	ConditionReady = "Ready"
	// ConditionProgressing: pods are being created, replaced or drained.
	ConditionProgressing = "Progressing"
	// ConditionTrackerReady: the tracker takes requests.
	ConditionTrackerReady = "TrackerReady"
	// ConditionRDMAReady: the servers can use their RDMA devices. Only if spec.rdma
	// asks for some.
	ConditionRDMAReady = "RDMAReady"
)
