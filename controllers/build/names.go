package build

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// Names in a pod, and where things are in its containers.
const (
	agentName     = "rpcpool-agent"
	sidecarName   = "rpcpool-sidecar"
	runVolume     = "rpcpool-run"
	workVolume    = "rpcpool-work"
	podVolume     = "rpcpool-pod"
	journalVolume = "rpcpool-journal"
	tokenVolume   = "rpcpool-token" //nolint:gosec // a name

	imageBin     = "/usr/local/bin" // in our image
	runDir       = "/run/rpcpool"   // the socket, and the programs for the device container
	binDir       = runDir + "/bin"
	socket       = runDir + "/agent.sock"
	journalDir   = "/var/lib/rpcpool/journal"    // of the sidecar alone: what workers could not be trusted with
	journal      = journalDir + "/calls"         // of native calls
	tokenDir     = "/etc/rpcpool/token"          //nolint:gosec // a path; of the sidecar alone
	token        = "token"                       // file in it, and key in its Secret
	accumulators = runDir + "/accumulators.sock" // of their workers
	stateDir     = "/var/lib/rpcpool"
	workDir      = stateDir + "/work"
	coreDir      = stateDir + "/cores"
	podDir       = "/etc/rpcpool" // what the pod's annotations say, for the sidecar
	draining     = "draining"     // a file in it,
	// and another: what is attached to the pod
	networkStatus = "network-status"

	workerProgram      = "rpcpool-worker"       // of our image: of sessions,
	callsWorkerProgram = "rpcpool-calls-worker" // and of native calls

	// MetricsPort is the sidecar's port for metrics and probes.
	MetricsPort = 9191
)

// ownWorker is the worker of our image that fits a pool.
func ownWorker(pool *v1alpha1.RPCPool) string {
	if pool.Spec.NativeCalls() {
		return callsWorkerProgram
	}
	return workerProgram
}

// PodName is the name of a pool's pod.
func PodName(pool string, ordinal int) string { return pool + "-" + strconv.Itoa(ordinal) }

// Ordinal is the inverse of [PodName]; ok is false for names that it does not
// make.
func Ordinal(pool, podName string) (ordinal int, ok bool) {
	digits, found := strings.CutPrefix(podName, pool+"-")
	if !found {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || PodName(pool, n) != podName {
		return 0, false
	}
	return n, true
}

// poolLabels are on everything that belongs to a pool.
func poolLabels(pool *v1alpha1.RPCPool) map[string]string {
	return map[string]string{
		v1alpha1.LabelPool:             pool.Name,
		"app.kubernetes.io/name":       "rpcpool",
		"app.kubernetes.io/instance":   pool.Name,
		"app.kubernetes.io/component":  "server",
		"app.kubernetes.io/managed-by": "rpcpool",
	}
}

// controlledBy makes the pool the controller of an object.
func controlledBy(pool *v1alpha1.RPCPool) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(pool, v1alpha1.GroupVersion().WithKind(v1alpha1.Kind))}
}
