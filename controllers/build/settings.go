package build

import corev1 "k8s.io/api/core/v1"

// Settings are what the operator adds to manifests; they are the same for all
// pools.
type Settings struct {
	// Image of the sidecar, the agent and the built-in worker.
	Image string
	// PullPolicy of Image; empty: Kubernetes' default.
	PullPolicy corev1.PullPolicy
	// Resources of the sidecar; zero: DefaultSidecarResources.
	Resources corev1.ResourceRequirements
}
