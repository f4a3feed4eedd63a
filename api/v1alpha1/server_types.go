package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Protocol is what servers speak to their clients.
//
// +kubebuilder:validation:Enum=TVM;RPC
type Protocol string

// Protocols.
const (
	// ProtocolTVM serves sessions of TVM's RPC, to clients that the tracker sends.
	ProtocolTVM Protocol = "TVM"
	// ProtocolRPC serves native calls, each at most once, of any number of clients.
	ProtocolRPC Protocol = "RPC"
)

// Isolation says what stands between two sessions of a server.
//
// +kubebuilder:validation:Enum=Fork;Watchdog
type Isolation string

// Kinds of isolation.
const (
	// IsolationFork runs every session in a worker process of its own.
	IsolationFork Isolation = "Fork"
	// IsolationWatchdog runs one long-lived worker that serves the sessions
	// itself, exits at a session's deadline and is restarted.
	IsolationWatchdog Isolation = "Watchdog"
)

// Flavour is the encoding of the packets in a TVM session. It follows from the
// TVM release of the worker, and clients must match it.
//
// +kubebuilder:validation:Enum=Auto;A;B;C
type Flavour string

// Flavours.
const (
	// FlavourAuto asks the worker before the first offer.
	FlavourAuto Flavour = "Auto"
	// FlavourA is spoken by TVM v0.8 to v0.20.
	FlavourA Flavour = "A"
	// FlavourB is spoken by TVM v0.21.
	FlavourB Flavour = "B"
	// FlavourC is spoken by TVM since v0.22.
	FlavourC Flavour = "C"
)

// KillDump says what a worker leaves when it has to be killed.
//
// +kubebuilder:validation:Enum=None;Quit;Abort
type KillDump string

// Dumps.
const (
	// KillDumpNone leaves nothing.
	KillDumpNone KillDump = "None"
	// KillDumpQuit leaves the worker's stacks in its output (SIGQUIT).
	KillDumpQuit KillDump = "Quit"
	// KillDumpAbort leaves a core (SIGABRT).
	KillDumpAbort KillDump = "Abort"
)

// ServerSpec says how a server runs its sessions, or its calls.
//
// +kubebuilder:validation:XValidation:rule="!has(self.calls) || has(self.protocol) && self.protocol == 'RPC'",message="is of protocol RPC",fieldPath=".calls",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'RPC' || !has(self.isolation) || self.isolation != 'Watchdog'",message="must be Fork with protocol RPC: Watchdog is about sessions",fieldPath=".isolation"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'RPC' || !has(self.heartbeat)",message="is of protocol TVM: a call has a deadline",fieldPath=".heartbeat",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'RPC' || !has(self.budgets)",message="is of protocol TVM: a call has a deadline",fieldPath=".budgets",reason=FieldValueForbidden
type ServerSpec struct {
	// protocol is TVM (sessions, one at a time, of clients that the tracker sends)
	// or RPC (native calls, each at most once, of any number of clients, which
	// connect to any server that is ready). It cannot be changed. Of what follows,
	// isolation, flavour, warmWorkers, sessionTimeout, handshakeTimeout, heartbeat,
	// budgets and quarantine are about sessions, and calls is about calls.
	// +optional
	// +kubebuilder:default=TVM
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable: clients would find servers that speak another one",reason=FieldValueForbidden
	Protocol Protocol `json:"protocol,omitempty"`

	// port that a server listens on. On a cluster every pod uses it; on one
	// machine (`rpcpool local`) the first server does and the others take the
	// ports that follow. Not 9191, where a pod has its metrics and health.
	// +optional
	// +kubebuilder:default=9090
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self != 9191",message="must not be 9191: metrics and health are there"
	Port int32 `json:"port,omitempty"`

	// isolation is Fork (a worker process for each session) or Watchdog (a
	// long-lived worker that serves the sessions itself, exits at a session's
	// deadline and is restarted).
	// +optional
	// +kubebuilder:default=Fork
	Isolation Isolation `json:"isolation,omitempty"`

	// command is the worker: program and arguments, no shell. Default: command
	// and args of the template's device container.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=131071
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || self[0] != ''",message="must begin with a program"
	Command []string `json:"command,omitempty"`

	// flavour is the encoding of the sessions' packets: A (TVM v0.8 to v0.20), B
	// (v0.21), C (v0.22 and later), or Auto: the worker is asked once.
	// +optional
	// +kubebuilder:default=Auto
	Flavour Flavour `json:"flavour,omitempty"`

	// warmWorkers is the number of workers that are started ahead of time and
	// wait for a session, so that a session costs no start of a process. 0: each
	// worker is started when its session arrives. With isolation Watchdog, at
	// least one is kept.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	WarmWorkers *int32 `json:"warmWorkers,omitempty"`

	// sessionTimeout bounds the length of a session.
	// +optional
	// +kubebuilder:default={}
	SessionTimeout SessionTimeout `json:"sessionTimeout,omitzero"`

	// handshakeTimeout bounds the time from a client's connect to the end of its
	// handshake. A duration above 0, such as 5s.
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 5s or 500ms"
	HandshakeTimeout *metav1.Duration `json:"handshakeTimeout,omitempty"`

	// killGracePeriod is the time between asking a worker to end (SIGTERM) and
	// killing its whole process tree (SIGKILL). A duration from 0 to 10m, such as
	// 2s.
	// +optional
	// +kubebuilder:default="2s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) <= duration('10m')`,message="must be a duration from 0 to 10m, such as 2s or 500ms"
	KillGracePeriod *metav1.Duration `json:"killGracePeriod,omitempty"`

	// killDump is what a worker that ignores SIGTERM is told to leave before it
	// is killed: None, Quit (SIGQUIT: its stacks, in its output) or Abort
	// (SIGABRT: a core).
	// +optional
	// +kubebuilder:default=None
	KillDump KillDump `json:"killDump,omitempty"`

	// heartbeat is how long a worker's loop may be silent, once it has beaten for
	// the first time, before the worker is taken for hung and killed. It needs a
	// worker that sends heartbeats. rpcpool-worker does, but not in the call of a
	// function: that is for budgets.run to bound. A duration of at least 100ms,
	// such as 5s. Default: heartbeats are not asked for.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) >= duration('100ms') && duration(self) <= duration('99999h')`,message="must be a duration of at least 100ms, such as 500ms or 5s"
	Heartbeat *metav1.Duration `json:"heartbeat,omitempty"`

	// budgets bound the phases of a session. Default: they are bounded by the
	// session alone.
	// +optional
	Budgets *Budgets `json:"budgets,omitempty"`

	// limits bound what a worker and its children may use, as far as the machine
	// can enforce it. Default: none.
	// +optional
	Limits *Limits `json:"limits,omitempty"`

	// calls say how native calls are run. With protocol RPC only. Default: one
	// worker that runs one call at a time.
	// +optional
	Calls *Calls `json:"calls,omitempty"`

	// workDir is the directory that each session, or worker of calls, has for itself.
	// +optional
	// +kubebuilder:default={}
	WorkDir WorkDir `json:"workDir,omitzero"`

	// quarantine says when a server is no longer offered because its workers
	// cannot become ready.
	// +optional
	// +kubebuilder:default={}
	Quarantine Quarantine `json:"quarantine,omitzero"`
}

// SessionTimeout bounds the length of a session. At the deadline the worker is
// killed and the client gets an RPCSessionTimeoutError.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.max) || !has(self.default) || ['^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$'].exists(p, !self.max.matches(p) || !self.default.matches(p)) || duration(self.max) >= duration(self.default)`,message="must be at least sessionTimeout.default, which is 10m unless it is said",fieldPath=".max"
type SessionTimeout struct {
	// default is used where the client asks for no timeout. A duration above 0,
	// such as 10m; at most max.
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 10m or 1h30m"
	Default *metav1.Duration `json:"default,omitempty"`

	// max is the longest that a client can ask for; longer requests are cut to
	// it. A duration above 0, such as 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 1h or 90m"
	Max *metav1.Duration `json:"max,omitempty"`
}

// Budgets bound the phases of a session, each time that the worker enters one.
// They need a worker that tells its phases, as rpcpool-worker does. A worker
// that is over a budget is killed, and the client gets an
// RPCSessionTimeoutError.
type Budgets struct {
	// upload bounds the time in which a client's bytes come in: a file, a module,
	// an array. A duration above 0, such as 30s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 30s or 1m"
	Upload *metav1.Duration `json:"upload,omitempty"`

	// load bounds the load of a module. A duration above 0, such as 10s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 10s or 1m"
	Load *metav1.Duration `json:"load,omitempty"`

	// run bounds one call of a function. A duration above 0, such as 30s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 30s or 5m"
	Run *metav1.Duration `json:"run,omitempty"`
}

// Limits bound what the process tree of one worker may use. A limit that the
// machine cannot enforce is said in the log, and has no effect.
type Limits struct {
	// cpu is the number of cores, such as 500m or 2 (a fraction in quotes:
	// "0.5"); at most 100k.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 && self <= 100000 : (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) && quantity(self).compareTo(quantity('100k')) <= 0)",message="must be a quantity above 0 and at most 100k, such as 500m or 2"
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory is the memory in bytes, such as 512Mi. A tree that needs more is
	// killed by the kernel.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 : (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')))",message="must be a quantity above 0, such as 512Mi or 4Gi"
	Memory *resource.Quantity `json:"memory,omitempty"`

	// processes is the number of processes and threads.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4194304
	Processes *int32 `json:"processes,omitempty"`

	// openFiles is the number of descriptors of each process.
	// +optional
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=1048576
	OpenFiles *int32 `json:"openFiles,omitempty"`
}

// Calls say how native calls are run.
type Calls struct {
	// workers are the processes that run calls; one more is kept as a spare, so that
	// the next call need not wait for a start when one has to be killed.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Workers int32 `json:"workers,omitempty"`

	// concurrency is the number of calls that run in a worker at once. When a worker
	// crashes, all calls in it do.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	Concurrency int32 `json:"concurrency,omitempty"`

	// maxTimeout bounds the time of a call, also of one whose client says none. A
	// duration above 0, such as 10m. Default: a call has the time that its client
	// says.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 10m or 1h30m"
	MaxTimeout *metav1.Duration `json:"maxTimeout,omitempty"`

	// journalSize is the size of the file that keeps the table of calls over a crash
	// of the server; a quarter of it is for replies. From 1Mi to 8Gi, such as 64Mi.
	// +optional
	// +kubebuilder:default="16Mi"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1048576 && self <= 8589934592 : (isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0 && quantity(self).compareTo(quantity('8Gi')) <= 0)",message="must be a quantity from 1Mi to 8Gi, such as 64Mi"
	JournalSize *resource.Quantity `json:"journalSize,omitempty"`

	// blobMemory is the memory of a server for blobs: long arguments and results, of
	// which those of clients on other machines come in there. One client may have half
	// of it. It is added to the sidecar's memory limit; what does not fit goes in messages, of
	// at most 64 MiB, or is refused. With RDMA it is pinned. From 64Mi to 1Ti, such as
	// 4Gi.
	// +optional
	// +kubebuilder:default="256Mi"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 67108864 && self <= 1099511627776 : (isQuantity(self) && quantity(self).compareTo(quantity('64Mi')) >= 0 && quantity(self).compareTo(quantity('1Ti')) <= 0)",message="must be a quantity from 64Mi to 1Ti, such as 4Gi"
	BlobMemory *resource.Quantity `json:"blobMemory,omitempty"`

	// tokenSecret is the name of a Secret of the pool's namespace whose key "token" has
	// tokens, one a line: clients must present one of them. The operator does not read
	// it; servers read it again when it changes. Default: any client may connect.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')`,message="must be the name of a Secret: lower-case letters, digits, - and ."
	TokenSecret string `json:"tokenSecret,omitempty"`
}

// WorkDir is the directory that each session, or worker of calls, has for itself:
// empty at its start, removed at its end whatever happened.
type WorkDir struct {
	// sizeLimit bounds the directory, which is measured about every second, and
	// each file in it, such as 1Gi. In a pod it bounds the directory's volume too.
	// +optional
	// +kubebuilder:default="1Gi"
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 : (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')))",message="must be a quantity above 0, such as 512Mi or 1Gi"
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// Quarantine withdraws a server whose workers fail before they can serve. A
// worker that crashes in a session is not a failure in this sense: that is
// what tuning does.
type Quarantine struct {
	// failures within the window that withdraw the server.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Failures int32 `json:"failures,omitempty"`

	// window in which failures are counted. A duration above 0, such as 60s.
	// +optional
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}([.][0-9]{1,9})?(h|m|s|ms|us|µs|ns)){1,4}$') && duration(self) > duration('0s') && duration(self) <= duration('99999h')`,message="must be a duration above 0, such as 60s or 5m"
	Window *metav1.Duration `json:"window,omitempty"`
}
