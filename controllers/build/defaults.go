package build

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

// withDefaults is a copy of the pool, for what is built must not share memory
// with a cache. Fields that objects are made from have the values that the
// definition gives them: the API server has filled them in, but a pool that
// never was there is to mean the same.
func withDefaults(pool *v1alpha1.RPCPool) *v1alpha1.RPCPool {
	pool = pool.DeepCopy()
	t, s := &pool.Spec.Tracker, &pool.Spec.Server
	t.Name, t.Port = cmp.Or(t.Name, "rpcpool-tracker"), cmp.Or(t.Port, 9190)
	s.Port = cmp.Or(s.Port, 9090)
	s.Protocol = cmp.Or(s.Protocol, v1alpha1.ProtocolTVM)
	if pool.Spec.NativeCalls() && s.Calls == nil {
		s.Calls = &v1alpha1.Calls{}
	}
	if c := s.Calls; c != nil {
		c.Workers, c.Concurrency = cmp.Or(c.Workers, 1), cmp.Or(c.Concurrency, 1)
		setDefault(&c.JournalSize, resource.MustParse("16Mi"))
		setDefault(&c.BlobMemory, resource.MustParse("256Mi"))
	}
	s.Isolation = cmp.Or(s.Isolation, v1alpha1.IsolationFork)
	s.Flavour = cmp.Or(s.Flavour, v1alpha1.FlavourAuto)
	s.KillDump = cmp.Or(s.KillDump, v1alpha1.KillDumpNone)
	s.Quarantine.Failures = cmp.Or(s.Quarantine.Failures, 5)
	setDefault(&s.WarmWorkers, 1)
	setDefault(&s.WorkDir.SizeLimit, resource.MustParse("1Gi"))
	setDefault(&s.SessionTimeout.Default, metav1.Duration{Duration: 10 * time.Minute})
	setDefault(&s.SessionTimeout.Max, metav1.Duration{Duration: time.Hour})
	setDefault(&s.HandshakeTimeout, metav1.Duration{Duration: 5 * time.Second})
	setDefault(&s.KillGracePeriod, metav1.Duration{Duration: 2 * time.Second})
	setDefault(&s.Quarantine.Window, metav1.Duration{Duration: time.Minute})
	setDefault(&pool.Spec.Rollout.DrainTimeout, metav1.Duration{Duration: 10 * time.Minute})
	if r := pool.Spec.RDMA; r != nil {
		r.Mode, r.Count = cmp.Or(r.Mode, v1alpha1.RDMAAuto), cmp.Or(r.Count, 1)
	}
	return pool
}

func setDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
