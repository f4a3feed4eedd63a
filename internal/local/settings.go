package local

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/manifest"
)

// settings takes the values out of a manifest. A manifest that was read has
// them all; zero values stand for what a caller left out.
func (p *planner) settings(pool *manifest.Pool) Settings {
	s := &pool.Spec.Server
	out := Settings{
		Flavour:          string(s.Flavour),
		Env:              p.environment(pool),
		DefaultTimeout:   duration(s.SessionTimeout.Default),
		MaxTimeout:       duration(s.SessionTimeout.Max),
		HandshakeTimeout: duration(s.HandshakeTimeout),
		KillGrace:        duration(s.KillGracePeriod),
		Failures:         int(s.Quarantine.Failures),
		Window:           duration(s.Quarantine.Window),
	}
	if s.WarmWorkers != nil {
		out.WarmWorkers = int(*s.WarmWorkers)
	}
	if s.WorkDir.SizeLimit != nil {
		out.WorkDirLimit = s.WorkDir.SizeLimit.Value()
	}
	return out
}

// environment is the device container's, as far as the manifest itself holds
// it: what comes from other objects needs a cluster.
func (p *planner) environment(pool *manifest.Pool) []string {
	device := pool.Spec.DeviceContainer()
	if device == nil {
		return nil
	}
	var env []string
	for _, e := range device.Env {
		if e.ValueFrom == nil {
			env = append(env, e.Name+"="+e.Value)
		}
	}
	if len(env) < len(device.Env) || len(device.EnvFrom) > 0 {
		p.note(pool, "variables that the device container takes from other objects are not set: they need a cluster")
	}
	if len(device.Resources.Limits) > 0 || usesVolumes(device) {
		p.note(pool, "resources and volumes of the device container have no effect: they need a cluster")
	}
	return env
}

func usesVolumes(c *corev1.Container) bool {
	return len(c.VolumeMounts) > 0 || len(c.VolumeDevices) > 0
}

func replicas(spec *v1alpha1.RPCPoolSpec) int {
	if spec.Replicas == nil {
		return 1
	}
	return int(*spec.Replicas)
}

func duration(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}
