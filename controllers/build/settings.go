package build

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Settings are what the operator adds to manifests; they are the same for all
// pools.
type Settings struct {
	// Image of the sidecar, the agent and the built-in worker.
	Image string
	// PullPolicy of Image; empty: Kubernetes' default.
	PullPolicy corev1.PullPolicy
	// Resources of the sidecar, and of the init container, which has ended before
	// the sidecar starts; zero: [DefaultSidecarResources]. What a pool's calls take of memory
	// is added to those of its sidecars.
	Resources corev1.ResourceRequirements
}

// DefaultSidecarResources are enough for a sidecar with every feature on, without the bytes
// of calls: it holds no session's.
func DefaultSidecarResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}

// resources are the containers' own copy.
func (s Settings) resources() corev1.ResourceRequirements {
	if s.Resources.Requests == nil && s.Resources.Limits == nil {
		return DefaultSidecarResources()
	}
	return *s.Resources.DeepCopy()
}
