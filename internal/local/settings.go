package local

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/manifest"
)

// Settings are the values of spec.server, defaults filled in. Of what has no
// default, the zero value says that it is not there.
type Settings struct {
	Protocol         string   // TVM or RPC
	Isolation        string   // Fork or Watchdog
	Flavour          string   // Auto, A, B or C
	Env              []string // NAME=VALUE
	WarmWorkers      int
	DefaultTimeout   time.Duration // of a session whose client asks for none
	MaxTimeout       time.Duration // of any session
	HandshakeTimeout time.Duration
	KillGrace        time.Duration
	KillDump         string        // None, Quit or Abort
	Heartbeat        time.Duration // silence of a worker that is taken for a hang
	Budgets          Budgets
	Limits           Limits
	WorkDirLimit     int64 // bytes, of the directory and of each file
	Failures         int   // within Window, that withdraw the server
	Window           time.Duration
	Calls            Calls // of protocol RPC
}

// Calls say how native calls are run.
type Calls struct {
	Workers, Concurrency int
	MaxTimeout           time.Duration // 0: what the client says
	JournalSize          int64         // bytes
	BlobMemory           int64         // bytes
}

// Budgets bound the phases of a session.
type Budgets struct{ Upload, Load, Run time.Duration }

// Limits bound what a worker and its children may use.
type Limits struct {
	CPU       int64 // thousandths of a core
	Memory    int64 // bytes
	Processes int64 // and threads
	OpenFiles int64 // descriptors of each process
}

// settings takes the values out of a manifest. A manifest that was read has
// them all; zero values stand for what a caller left out.
func (p *planner) settings(pool *manifest.Pool) Settings {
	s := &pool.Spec.Server
	out := Settings{
		Protocol:         string(s.Protocol),
		Isolation:        string(s.Isolation),
		Flavour:          string(s.Flavour),
		Env:              p.environment(pool),
		DefaultTimeout:   duration(s.SessionTimeout.Default),
		MaxTimeout:       duration(s.SessionTimeout.Max),
		HandshakeTimeout: duration(s.HandshakeTimeout),
		KillGrace:        duration(s.KillGracePeriod),
		KillDump:         string(s.KillDump),
		Heartbeat:        duration(s.Heartbeat),
		Limits:           limits(s.Limits),
		Failures:         int(s.Quarantine.Failures),
		Window:           duration(s.Quarantine.Window),
	}
	if s.WarmWorkers != nil {
		out.WarmWorkers = int(*s.WarmWorkers)
	}
	if pool.Spec.NativeCalls() {
		out.Calls = calls(s.Calls)
		if s.Calls != nil && s.Calls.TokenSecret != "" {
			p.note(pool, "clients need no token: spec.server.calls.tokenSecret needs a cluster")
		}
	}
	if b := s.Budgets; b != nil {
		out.Budgets = Budgets{Upload: duration(b.Upload), Load: duration(b.Load), Run: duration(b.Run)}
	}
	if s.WorkDir.SizeLimit != nil {
		out.WorkDirLimit = s.WorkDir.SizeLimit.Value()
	}
	return out
}

// calls has the defaults where the manifest says nothing of calls at all.
func calls(c *v1alpha1.Calls) Calls {
	if c == nil {
		return Calls{Workers: 1, Concurrency: 1, JournalSize: 16 << 20, BlobMemory: 256 << 20}
	}
	return Calls{
		Workers: int(c.Workers), Concurrency: int(c.Concurrency),
		MaxTimeout: duration(c.MaxTimeout), JournalSize: c.JournalSize.Value(), BlobMemory: c.BlobMemory.Value(),
	}
}

func limits(l *v1alpha1.Limits) (out Limits) {
	if l == nil {
		return out
	}
	if l.CPU != nil {
		out.CPU = l.CPU.MilliValue()
	}
	if l.Memory != nil {
		out.Memory = l.Memory.Value()
	}
	if l.Processes != nil {
		out.Processes = int64(*l.Processes)
	}
	if l.OpenFiles != nil {
		out.OpenFiles = int64(*l.OpenFiles)
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
		p.note(pool, "resources and volumes of the device container have no effect: they need a cluster; spec.server.limits does not")
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
