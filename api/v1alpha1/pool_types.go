package v1alpha1

import (
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
	// RDMARequired refuses to serve without it.
	RDMARequired RDMAMode = "Required"
)

// RDMASpec asks for RDMA devices (SR-IOV virtual functions) for the servers.
//
// +kubebuilder:validation:XValidation:rule="self.mode == 'Off' || has(self.resourceName)",message="is required unless mode is Off",fieldPath=".resourceName",reason=FieldValueRequired
type RDMASpec struct {
	// mode is Off, Auto (where both ends have a device, else TCP) or Required.
	// +optional
	// +kubebuilder:default=Auto
	Mode RDMAMode `json:"mode,omitempty"`

	// resourceName is the extended resource of the virtual functions, such as
	// openshift.io/rdma_vf. Required unless mode is Off.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')`,message="must be an extended resource's name, such as openshift.io/rdma_vf"
	ResourceName string `json:"resourceName,omitempty"`

	// count of virtual functions for each server.
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
}

// RolloutSpec says how a changed template reaches the pods.
type RolloutSpec struct {
	// maxUnavailable is how many servers may be neither offered nor in a session
	// at a time: a number, or a percentage of replicas, rounded up.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="must be a number of at least 1, or a percentage from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// drainTimeout is how long a server that must go may finish its session,
	// before the session is killed. A duration of at least 0, such as 10m.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) <= duration('99999h')`,message="must be a duration of at least 0, such as 10m or 1h30m"
	DrainTimeout *metav1.Duration `json:"drainTimeout,omitempty"`
}

// RPCPoolStatus is what was observed last.
type RPCPoolStatus struct {
	// observedGeneration is the metadata.generation that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// key is the device key in force: spec.key, or the pool's name.
	// +optional
	Key string `json:"key,omitempty"`

	// replicas is the number of pods that exist.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// readyReplicas is the number of servers offered or in a session.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`

	// free is the number of servers that wait for a client.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Free *int32 `json:"free,omitempty"`

	// busy is the number of servers in a session.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Busy *int32 `json:"busy,omitempty"`

	// quarantined is the number of servers withdrawn because their workers keep
	// failing or a device hangs.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Quarantined *int32 `json:"quarantined,omitempty"`

	// pendingRequests is the number of clients that wait for a server.
	// +optional
	// +kubebuilder:validation:Minimum=0
	PendingRequests *int32 `json:"pendingRequests,omitempty"`

	// tracker is where clients connect.
	// +optional
	Tracker *TrackerStatus `json:"tracker,omitempty"`

	// selector finds the pool's pods, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`

	// conditions are Ready, Progressing, TrackerReady and RDMAReady.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// TrackerStatus says where the tracker is.
type TrackerStatus struct {
	// address that clients connect to, as HOST:PORT.
	// +optional
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
	// ConditionRDMAReady: the servers' RDMA devices work.
	ConditionRDMAReady = "RDMAReady"
)
