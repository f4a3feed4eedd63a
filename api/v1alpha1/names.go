package v1alpha1

// Labels and annotations of the objects that the operator makes. They are part
// of the API: selectors, policies and people rely on them.
const (
	// LabelPool is on every object of a pool; its value is the pool's name.
	LabelPool = Group + "/pool"
	// LabelTracker is on the objects of a tracker; its value is the tracker's
	// name.
	LabelTracker = Group + "/tracker"
	// LabelRevision is on a pool's pods: the hash of the pod that was asked for.
	// A pod of another revision than the pool's current one is replaced.
	LabelRevision = Group + "/revision"
	// LabelEvictable is on a pool's pods: [Evictable] or [NotEvictable]. The
	// pool's PodDisruptionBudget forbids the eviction of pods that are not.
	LabelEvictable = Group + "/evictable"
	// AnnotationDraining is on a pod whose server finishes its session and then
	// goes: since when, in RFC 3339.
	AnnotationDraining = Group + "/draining"
)

// Values of [LabelEvictable]. A pod becomes evictable when its node is cordoned
// and its server is in no session: its offer is withdrawn then, so that it stays
// so. Everywhere else eviction could hit a session that has just begun.
const (
	Evictable    = "true"
	NotEvictable = "false"
)

// Reasons of conditions and events. The set is closed: alerts and scripts may
// match them.
const (
	// ReasonAllServersReady: every server asked for is offered or in a session.
	ReasonAllServersReady = "AllServersReady"
	// ReasonServersMissing: fewer servers than asked for are offered or in a
	// session; the message says where the others are.
	ReasonServersMissing = "ServersMissing"
	// ReasonQuarantined: servers are withdrawn because their workers keep failing,
	// a device hangs, or RDMA is required and cannot be used.
	ReasonQuarantined = "Quarantined"
	// ReasonUpToDate: there is nothing to do.
	ReasonUpToDate = "UpToDate"
	// ReasonScalingUp: pods are being made.
	ReasonScalingUp = "ScalingUp"
	// ReasonScalingDown: pods are being removed.
	ReasonScalingDown = "ScalingDown"
	// ReasonRollingOut: pods of an old revision are being replaced.
	ReasonRollingOut = "RollingOut"
	// ReasonWaitingForBusy: nothing can go on until a session ends; the message
	// names server, client, since when and the deadline.
	ReasonWaitingForBusy = "WaitingForBusy"
	// ReasonWaitingForTermination: a device is free only when its old pod is
	// gone; the message names the pod.
	ReasonWaitingForTermination = "WaitingForTermination"
	// ReasonUnschedulable: no node has room for the next pod; no more pods are
	// made until it has one.
	ReasonUnschedulable = "Unschedulable"
	// ReasonPodsDoNotStart: pods were made and do not start; no more are made
	// until they do.
	ReasonPodsDoNotStart = "PodsDoNotStart"
	// ReasonPodReplaced: a pod had failed (evicted, lost, refused by its node).
	ReasonPodReplaced = "PodReplaced"
	// ReasonDraining: a server was told to finish its session and go.
	ReasonDraining = "Draining"
	// ReasonDrainTimeout: a session was still going on at the end of
	// spec.rollout.drainTimeout; its server is killed.
	ReasonDrainTimeout = "DrainTimeout"
	// ReasonListening: the tracker takes requests.
	ReasonListening = "Listening"
	// ReasonSettling: the tracker has just started and waits for servers and
	// clients of its predecessor to come back before it grants, or tells clients of
	// new servers.
	ReasonSettling = "Settling"
	// ReasonNotListening: the tracker's listener or its Service cannot be made.
	ReasonNotListening = "NotListening"
	// ReasonAddressTranslated: a server's connection does not come from its pod's
	// address, so clients' may not come from theirs either: fair share takes all
	// that come by one address for one client.
	ReasonAddressTranslated = "AddressTranslated"
	// ReasonNotChecked: servers have not said yet whether they can use their RDMA
	// devices.
	ReasonNotChecked = "NotChecked"
	// ReasonNotUsed: the RDMA devices work, and servers of protocol TVM make no use of
	// them.
	ReasonNotUsed = "NotUsed"
	// ReasonDevicesReady: every server can use its RDMA devices.
	ReasonDevicesReady = "DevicesReady"
	// ReasonNoDeviceGranted: a sidecar was granted no RDMA device, or fewer than
	// spec.rdma.count.
	ReasonNoDeviceGranted = "NoDeviceGranted"
	// ReasonBadDeviceInfo: what the device plugin says in a sidecar's environment, or
	// the CNI plugin in the pod's annotation, cannot be understood.
	ReasonBadDeviceInfo = "BadDeviceInfo"
	// ReasonNoRDMADevice: a granted virtual function is not there, or has no RDMA
	// device.
	ReasonNoRDMADevice = "NoRDMADevice"
	// ReasonOtherNamespace: the RDMA device of a virtual function is not in the pod's
	// network namespace, on a node where each device is in one only.
	ReasonOtherNamespace = "OtherNamespace"
	// ReasonNoDeviceNode: the device's node in /dev/infiniband is missing, is
	// another device's, or cannot be opened.
	ReasonNoDeviceNode = "NoDeviceNode"
	// ReasonPortDown: the device's port is not ACTIVE.
	ReasonPortDown = "PortDown"
	// ReasonNoGID: the device's port has no RoCE v2 address that is the pod's.
	ReasonNoGID = "NoGID"
	// ReasonMTUTooSmall: the device's interface has packets without room for those of
	// RDMA.
	ReasonMTUTooSmall = "MTUTooSmall"
	// ReasonMemlockTooSmall: a sidecar may not lock enough memory.
	ReasonMemlockTooSmall = "MemlockTooSmall"
	// ReasonNoLibrary: a sidecar has no verbs library (libibverbs) to use its devices
	// with.
	ReasonNoLibrary = "NoLibrary"
	// ReasonNoAnswer: the state of a device cannot be read in time.
	ReasonNoAnswer = "NoAnswer"
	// ReasonForbidden: the API server refuses what the pool asks for (a quota, an
	// admission policy, a name that is taken); the message is the server's.
	ReasonForbidden = "Forbidden"
)
