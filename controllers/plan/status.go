package plan

import "rpcpool.dev/api/v1alpha1"

// status writes the whole status. What the tracker counts stays as it was until
// the tracker has settled.
func (p *planning) status() {
	pool, old := p.in.Pool, &p.in.Pool.Status
	s := v1alpha1.RPCPoolStatus{
		ObservedGeneration: pool.Generation,
		Key:                pool.DeviceKey(),
		Revision:           p.in.Revision,
		Selector:           v1alpha1.LabelPool + "=" + pool.Name,
		Replicas:           number(len(p.members)),
		UpdatedReplicas:    number(p.count(func(m *member) bool { return !m.outdated })),
		Draining:           number(p.count(func(m *member) bool { return m.active() && m.draining() })),
		ReadyReplicas:      old.ReadyReplicas,
		Free:               old.Free,
		Busy:               old.Busy,
		Quarantined:        old.Quarantined,
		PendingRequests:    old.PendingRequests,
	}
	if p.in.Tracker.Settled {
		free, busy := p.servers(ServerFree), p.servers(ServerBusy)
		s.Free, s.Busy, s.ReadyReplicas = number(free), number(busy), number(free+busy)
		s.Quarantined = number(p.servers(ServerQuarantined))
		s.PendingRequests = number(p.in.Tracker.Pending)
	}
	if address := p.in.Tracker.Address; address != "" {
		s.Tracker = &v1alpha1.TrackerStatus{Address: address}
	}
	p.plan.Status = s
	p.plan.Status.Conditions = p.conditions()
}

// servers counts the active pods whose server is in the state.
func (p *planning) servers(state ServerState) int {
	return p.count(func(m *member) bool { return m.active() && m.state() == state })
}

func number(n int) *int32 {
	n32 := int32(n)
	return &n32
}
