package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RPCPool is a pool of RPC servers, one for each device, that clients ask a
// tracker for by the pool's device key.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,path=rpcpools,singular=rpcpool,shortName=rp,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.status.key`,description="device key that clients ask for"
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.spec.replicas`,description="servers asked for"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`,description="servers offered or in a session"
// +kubebuilder:printcolumn:name="Free",type=integer,JSONPath=`.status.free`,description="servers that wait for a client"
// +kubebuilder:printcolumn:name="Busy",type=integer,JSONPath=`.status.busy`,description="servers in a session"
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.pendingRequests`,description="clients that wait for a server"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Quarantined",type=integer,priority=1,JSONPath=`.status.quarantined`,description="servers withdrawn because their workers keep failing"
// +kubebuilder:printcolumn:name="Tracker",type=string,priority=1,JSONPath=`.status.tracker.address`,description="where clients connect"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 58",message="name must be at most 58 characters: it begins the pods' names and is a label's value",fieldPath=".metadata",reason=FieldValueInvalid
type RPCPool struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata. The name is also the device
	// key unless spec.key says otherwise; at most 58 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec RPCPoolSpec `json:"spec,omitzero"`

	// status is what was observed last. It is written by the operator, at most
	// once a second.
	// +optional
	Status RPCPoolStatus `json:"status,omitzero"`
}

// RPCPoolList is a list of pools.
//
// +kubebuilder:object:root=true
type RPCPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RPCPool `json:"items"`
}

// RPCPoolSpec is what a pool should be.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) == has(oldSelf.key) && (!has(self.key) || self.key == oldSelf.key)",message="is immutable: clients and the tracker know the servers by it",fieldPath=".key",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="has(self.server.command) || (has(self.template) && has(self.template.spec) && self.template.spec.containers.exists(c, (c.name == 'device' || size(self.template.spec.containers) == 1) && has(c.command) && size(c.command) > 0))",message="is required where the template's device container has no command",fieldPath=".server.command",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule=`!has(self.template) || !has(self.template.spec) || !has(self.template.spec.terminationGracePeriodSeconds) || [self.rollout.drainTimeout, self.server.killGracePeriod].exists(d, !d.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$')) || self.template.spec.terminationGracePeriodSeconds >= (duration(self.rollout.drainTimeout) + duration(self.server.killGracePeriod) + duration('5.999999999s')).getSeconds()`,message="must be at least rollout.drainTimeout + server.killGracePeriod + 5s; without it, that is what pods get",fieldPath=".template.spec.terminationGracePeriodSeconds"
type RPCPoolSpec struct {
	// key is the device key that clients ask the tracker for: letters, digits
	// and . _ : $ [ ] - only, at most 128 characters. It cannot be changed.
	// Default: the pool's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9._:$\\[\\]-]+$')`,message="must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)"
	Key string `json:"key,omitempty"`

	// replicas is the number of servers, one for each device.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int32 `json:"replicas,omitempty"`

	// tracker says which tracker the servers register with.
	// +optional
	// +kubebuilder:default={}
	Tracker TrackerSpec `json:"tracker,omitzero"`

	// server says how each server runs its sessions.
	// +optional
	// +kubebuilder:default={}
	Server ServerSpec `json:"server,omitzero"`

	// rdma gives the servers RDMA devices. Those of protocol RPC use them. Default: none.
	// +optional
	RDMA *RDMASpec `json:"rdma,omitempty"`

	// rollout says how a changed template reaches the pods.
	// +optional
	// +kubebuilder:default={}
	Rollout RolloutSpec `json:"rollout,omitzero"`

	// disruptionBudget says which evictions (a node's drain, a descheduler) are
	// refused: Busy makes a PodDisruptionBudget by which a pod can be evicted when
	// its node is cordoned and its session is over, and not before; None makes
	// none. With protocol RPC a pod can be evicted when its node is cordoned: it
	// ends its calls within rollout.drainTimeout.
	// +optional
	// +kubebuilder:default=Busy
	DisruptionBudget DisruptionBudget `json:"disruptionBudget,omitempty"`

	// networkPolicy restricts who can connect to the servers. Default: nothing
	// does.
	// +optional
	NetworkPolicy *NetworkPolicySpec `json:"networkPolicy,omitempty"`

	// template is the pod that holds a device. Its container named "device", or
	// its only one, is the device container: the worker runs there. Default: a
	// pod with rpcpool's own image, which has the workers rpcpool-worker and, of
	// protocol RPC, rpcpool-calls-worker.
	// `rpcpool local` starts no containers: of the template it uses the device
	// container's command and args only.
	//
	// What the template says stays. The operator adds containers and volumes,
	// whose names begin with rpcpool-, labels and annotations that begin with
	// rpcpool.dev/, and has the agent start the device container's command.
	// terminationGracePeriodSeconds is rollout.drainTimeout +
	// server.killGracePeriod + 5s unless the template says more.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || size(self.spec.containers) == 1 || self.spec.containers.exists_one(c, c.name == 'device')",message="must have one container, or one named device",fieldPath=".spec.containers"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || self.spec.containers.all(c, !c.name.startsWith('rpcpool-'))",message="must not have names that begin with rpcpool-: they are the operator's",fieldPath=".spec.containers",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.initContainers) || self.spec.initContainers.all(c, !c.name.startsWith('rpcpool-'))",message="must not have names that begin with rpcpool-: they are the operator's",fieldPath=".spec.initContainers",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.volumes) || self.spec.volumes.all(v, !v.name.startsWith('rpcpool-'))",message="must not have names that begin with rpcpool-: they are the operator's",fieldPath=".spec.volumes",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.restartPolicy) || self.spec.restartPolicy == 'Always'",message="must be Always: a device's container is started again when it ends",fieldPath=".spec.restartPolicy"
	// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.os) || self.spec.os.name == 'linux'",message="must be linux",fieldPath=".spec.os.name"
	// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || !has(self.metadata.labels) || self.metadata.labels.all(k, !k.startsWith('rpcpool.dev/'))",message="must not have keys that begin with rpcpool.dev/: they are the operator's",fieldPath=".metadata.labels",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || !has(self.metadata.annotations) || self.metadata.annotations.all(k, !k.startsWith('rpcpool.dev/'))",message="must not have keys that begin with rpcpool.dev/: they are the operator's",fieldPath=".metadata.annotations",reason=FieldValueForbidden
	// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || !(has(self.metadata.name) || has(self.metadata.namespace) || has(self.metadata.finalizers))",message="must have no name, namespace or finalizers: pods get labels and annotations from it",fieldPath=".metadata",reason=FieldValueForbidden
	Template *corev1.PodTemplateSpec `json:"template,omitempty"`
}

// TrackerSpec names a tracker.
type TrackerSpec struct {
	// name of the tracker. Pools of one namespace that name the same tracker
	// share it. It cannot be changed.
	// +optional
	// +kubebuilder:default=rpcpool-tracker
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="must be the name of a Service: lower-case letters, digits and -, beginning with a letter"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable: make a new pool to move its devices to another tracker",reason=FieldValueForbidden
	Name string `json:"name,omitempty"`

	// port that clients and servers connect to. It cannot be changed. Of pools
	// that share a tracker, each can be given another one.
	// +optional
	// +kubebuilder:default=9190
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable: servers that are in a session would lose the tracker",reason=FieldValueForbidden
	Port int32 `json:"port,omitempty"`
}
