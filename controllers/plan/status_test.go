package plan

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

func TestTheStatusCountsPodsAndServers(t *testing.T) {
	in := aPool(8, these(
		aPod(0), aPod(1, busy), aPod(2, busy, draining(0)), aPod(3, is(ServerQuarantined)), aPod(4, old, is(ServerStarting)),
		aPod(5, failed, retryIn(time.Hour)), aPod(6, busy, terminating), aPod(7, pending),
	))
	in.Tracker.Pending = 5
	in.Pool.Spec.Key = "rk3588"
	want := v1alpha1.RPCPoolStatus{
		ObservedGeneration: 3, Key: "rk3588", Revision: current, Selector: "rpcpool.dev/pool=rk",
		Tracker:  &v1alpha1.TrackerStatus{Address: "rpcpool-tracker.tuning.svc:9190"},
		Replicas: number(8), UpdatedReplicas: number(7), ReadyReplicas: number(3), Free: number(1), Busy: number(2),
		Quarantined: number(1), Draining: number(1 /* pod 4, from now on; pod 2 no longer */), PendingRequests: number(5),
	}
	p := Next(in)
	got := p.Status
	got.Conditions = nil
	same(t, "status", want, got)
	for _, c := range p.Status.Conditions {
		if c.ObservedGeneration != 3 || !c.LastTransitionTime.Time.Equal(start) {
			t.Errorf("condition %s is of generation %d and %s", c.Type, c.ObservedGeneration, c.LastTransitionTime)
		}
	}
}

func TestCountsOfServersStayWhatTheyWereUntilTheTrackerHasSettled(t *testing.T) {
	in := aPool(3, pods(2), these(aPod(2, busy)))
	in.Tracker.Pending = 4
	in = in.seen(Next(in)).but(unsettled)
	in.Tracker.Pending = 0
	for i := range in.Pods {
		in.Pods[i].Server = nil
	}
	in.Pods = in.Pods[:2]
	before, got := in.Pool.Status, Next(in).Status
	same(t, "ready condition", before.Conditions[0], got.Conditions[0])
	before.Conditions, got.Conditions = nil, nil
	before.Replicas, before.UpdatedReplicas = number(2), number(2)
	same(t, "status", before, got)
}

func TestReadyOfAnotherManifestIsNotKeptWhileTheTrackerSettles(t *testing.T) {
	in := aPool(2, pods(2))
	in = in.seen(Next(in)).but(unsettled)
	in.Pool.Generation++
	if got := says(t, Next(in), v1alpha1.ConditionReady); !strings.HasPrefix(got, "Unknown Settling") {
		t.Error(got)
	}
}

func TestAConditionKeepsItsTimeAsLongAsItsStatus(t *testing.T) {
	in := aPool(2, pods(1), these(aPod(1, is(ServerLost))))
	in = in.seen(Next(in))
	in.Now = start.Add(time.Hour)
	in.Pods[1] = aPod(1, is(ServerQuarantined))
	if c := Next(in).Status.Conditions[0]; c.Reason != v1alpha1.ReasonQuarantined || !c.LastTransitionTime.Time.Equal(start) {
		t.Errorf("still not ready, but for another reason: %+v", c)
	}
	in.Pods = pods(2)
	if c := Next(in).Status.Conditions[0]; !c.LastTransitionTime.Time.Equal(in.Now) {
		t.Errorf("ready now: %+v", c)
	}
}

type sayCase struct {
	in   Input
	want string
}

func runSays(t *testing.T, kind string, cases map[string]sayCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			plan := Next(tc.in)
			same(t, kind, tc.want, says(t, plan, kind))
			in := tc.in.seen(plan)
			in.Now = in.Now.Add(20 * time.Millisecond)
			if again := Next(in); len(again.Events) > 0 && len(namesOf(again).Delete)+len(again.Drain) == 0 {
				t.Errorf("told twice: %v", told(again))
			}
		})
	}
}

func TestReadySaysWhereTheServersAre(t *testing.T) {
	runSays(t, v1alpha1.ConditionReady, map[string]sayCase{
		"all in use":          {aPool(2, pods(1), these(aPod(1, busy))), "True AllServersReady: 2 of 2 servers are ready"},
		"more than asked for": {aPool(1, pods(2)), "True AllServersReady: 1 of 1 servers are ready"},
		"scaled to zero":      {aPool(0), "True AllServersReady: no servers are asked for"},
		"one starting": {aPool(4, pods(3), these(aPod(3, is(ServerStarting)))),
			"False ServersMissing: 3 of 4 servers are ready; 1 starting (rk-3)"},
		"nothing yet": {aPool(20), "False ServersMissing: 0 of 20 servers are ready; 20 to be made"},
		"a crash loop": {aPool(1, pods(1, is(ServerStarting), problem("CrashLoopBackOff"))),
			"False ServersMissing: 0 of 1 servers are ready; 1 starting (rk-0: CrashLoopBackOff)"},
		"many": {aPool(9, pods(8, pending)),
			"False ServersMissing: 0 of 9 servers are ready; 8 not started (rk-0, rk-1, rk-2 and 5 more), 1 to be made"},
		"one of each": {aPool(7, these(
			aPod(0, failed, retryIn(time.Hour)), aPod(1, is(ServerLost)), aPod(2, unknown), aPod(3, cordoned, is(ServerDraining)),
			aPod(4, terminating, nodeNotReady), aPod(5, pending), aPod(6))),
			"False ServersMissing: 1 of 7 servers are ready; 1 failed (rk-0: Evicted), 1 not heard of (rk-1), 1 not registered (rk-2), " +
				"1 not started (rk-5), 1 held back (rk-3: its node node-a is cordoned), 1 terminating (rk-4: its node node-a is not ready)"},
		"quarantined": {aPool(2, pods(1), these(aPod(1, func(p *Pod) {
			p.Server = &Server{State: ServerQuarantined, Reason: "5 workers failed within 1m0s"}
		}))), "False Quarantined: 1 of 2 servers are ready; 1 quarantined (rk-1: 5 workers failed within 1m0s)"},
		"not known yet": {aPool(2, pods(2, unknown)).but(unsettled),
			"Unknown Settling: which servers are ready is not known: the tracker has just started and waits for servers and clients to come back"},
	})
}

func TestProgressingSaysWhatGoesOnAndWhatItWaitsFor(t *testing.T) {
	refused := func(in *Input) { in.Refused = `pods "rk-1" is forbidden: exceeded quota: npu` }
	runSays(t, v1alpha1.ConditionProgressing, map[string]sayCase{
		"nothing":         {aPool(2, pods(2)), "False UpToDate: 2 of 2 pods are of the current revision"},
		"nothing of none": {aPool(0), "False UpToDate: no pods are asked for, and there are none"},
		"a scale-up":      {aPool(9, pods(3), these(aPod(3, pending))), "True ScalingUp: 3 of 9 pods have started; 1 not started, 5 to be made"},
		"a scale-down":    {aPool(1, pods(4), these(aPod(4, terminating))), "True ScalingDown: 3 of 5 pods to go; 3 draining, 1 terminating"},
		"a rollout": {aPool(8, pods(6, old), these(aPod(6, pending), aPod(7, terminating))),
			"True RollingOut: 1 of 8 pods are of the current revision; 1 terminating, 1 not started; waits for servers to be ready: rk-6"},
		"a rollout to which too many servers are missing": {aPool(4, pods(3, old), these(aPod(3, is(ServerStarting), problem("CrashLoopBackOff")))),
			"True RollingOut: 1 of 4 pods are of the current revision; " +
				"waits for servers to be ready: rk-3: CrashLoopBackOff"},
		"a busy server": {aPool(0, pods(1, busy, draining(time.Minute))),
			"True WaitingForBusy: the server in pod rk-0 is in a session with 10.0.0.7:4321 since 2025-03-01T11:59:00Z; " +
				"its pod is deleted when the session is over, at 2025-03-01T12:09:00Z at the latest"},
		"a busy server whose drain begins now, and one that has drained for longer": {
			aPool(0, these(aPod(0, busy), aPod(1, func(p *Pod) { p.Server.State = ServerBusy }, draining(time.Minute)))),
			"True WaitingForBusy: the server in pod rk-1 was granted to a client at 2025-03-01T11:59:00Z; " +
				"its pod is deleted when the session is over, at 2025-03-01T12:09:00Z at the latest (1 other server to go as well)"},
		"a server that nobody has heard of": {aPool(0, pods(1, unknown, draining(time.Second))),
			"True WaitingForBusy: the tracker has not heard of the server in pod rk-0, which may be in a session; its pod is deleted at 2025-03-01T12:00:29Z"},
		"the end of a pod": {aPool(1, pods(1, terminating)), "True WaitingForTermination: 1 pod to end: rk-0"},
		"the end of a pod whose node is silent": {aPool(1, pods(1, terminating, nodeNotReady)),
			"True WaitingForTermination: 1 pod to end: rk-0: its node node-a is not ready"},
		"the replacement of a failed pod": {aPool(2, pods(1), these(aPod(1, failed, retryIn(time.Minute)))),
			"True PodReplaced: pod rk-1 has failed and is replaced at 2025-03-01T12:01:00Z: Evicted"},
		"no node has room": {aPool(3, pods(1), these(aPod(1, unschedulable), aPod(2, unschedulable))),
			"False Unschedulable: pod rk-1 has no node (and 1 pod more like it): 0/4 nodes are available: 4 Insufficient example.com/npu"},
		"a pod does not start": {aPool(2, pods(1), these(aPod(1, pending, problem("ErrImagePull: no such image")))),
			"False PodsDoNotStart: pod rk-1 does not start: ErrImagePull: no such image"},
		"the API server refuses": {aPool(3, pods(1)).but(refused),
			`False Forbidden: 2 pods cannot be made: pods "rk-1" is forbidden: exceeded quota: npu`},
		"what was refused is not wanted any more": {aPool(1, pods(1)).but(refused), "False UpToDate: 1 of 1 pods are of the current revision"},
		"a scale-down while the tracker settles": {aPool(1, pods(2, unknown)).but(unsettled),
			"True Settling: 1 pod to go; which servers are in a session is not known: the tracker has just started and waits for servers and clients to come back"},
		"the end of the pool": {aPool(2, pods(2)).but(func(in *Input) { in.Pool.DeletionTimestamp = &metav1.Time{Time: start} }),
			"True ScalingDown: the pool is being deleted; 2 pods left"},
	})
}

func TestTrackerReadySaysHowTheTrackerIs(t *testing.T) {
	runSays(t, v1alpha1.ConditionTrackerReady, map[string]sayCase{
		"listening": {aPool(0), "True Listening: clients connect to rpcpool-tracker.tuning.svc:9190"},
		"settling":  {aPool(0).but(unsettled), "False Settling: the tracker has just started and waits for servers and clients to come back"},
		"native calls, while the registry settles": {aPool(0).but(nativeCalls).but(func(in *Input) { in.Tracker.Joining = true }),
			"False Settling: the tracker has just started: it waits for servers that clients know to come back, and then tells of others"},
		"not yet": {aPool(0).but(func(in *Input) { in.Tracker = Tracker{} }), "False NotListening: the tracker does not listen yet"},
		"no port": {aPool(0).but(func(in *Input) { in.Tracker = Tracker{Reason: "NotListening", Message: "no port is free"} }),
			"False NotListening: no port is free"},
	})
}

func TestAMessageHasABound(t *testing.T) {
	in := aPool(2, these(aPod(0, pending, problem(strings.Repeat("ü", 4000)))))
	got := meta.FindStatusCondition(Next(in).Status.Conditions, v1alpha1.ConditionProgressing).Message
	if len(got) > maxMessage || !strings.HasSuffix(got, "ü…") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestEventsAreOfTransitions(t *testing.T) {
	rest := aPool(2, pods(2))
	rest = rest.seen(Next(rest))
	with := func(replicas int, sets ...[]Pod) Input { // what became of the pool at rest
		in := aPool(replicas, sets...)
		in.Pool.Status = rest.Pool.Status
		return in
	}
	for name, tc := range map[string]struct {
		in   Input
		want []string
	}{
		"none at rest":     {in: rest},
		"none per session": {in: with(2, pods(2, busy))},
		"none while the tracker settles": {
			in: with(2, pods(2, unknown)).but(unsettled)},
		"a new pool": {in: aPool(2), want: []string{
			"Normal ScalingUp ScaleUp: 0 of 2 pods have started; 2 to be made",
			"Normal Listening Listen: clients connect to rpcpool-tracker.tuning.svc:9190"}},
		"a scale-down": {in: with(0, pods(2)), want: []string{
			"Normal Draining Drain: draining 2 servers: rk-0, rk-1",
			"Normal ScalingDown ScaleDown: 2 of 2 pods to go; 2 draining"}},
		"a rollout": {in: with(2, pods(2)).but(func(in *Input) { in.Revision = "newer" }), want: []string{
			"Normal Draining Drain: draining 1 server: rk-1",
			"Normal RollingOut RollOut: 0 of 2 pods are of the current revision; 1 draining"}},
		"a failed pod": {in: with(2, pods(1), these(aPod(1, failed))), want: []string{
			"Warning PodReplaced Replace: replacing 1 pod: rk-1: Evicted",
			"Normal ScalingUp ScaleUp: 1 of 2 pods have started; 1 terminating"}},
		"a session that is killed": {in: with(1, pods(1), these(aPod(1, busy, draining(time.Hour)))), want: []string{
			"Warning DrainTimeout Kill: 1 session not over after 10m0s, killed: rk-1 (client 10.0.0.7:4321 since 2025-03-01T11:59:00Z)",
			"Normal ScalingDown ScaleDown: 1 of 2 pods to go; 1 draining, 1 terminating"}},
		"a server that is lost": {in: with(2, pods(1), these(aPod(1, is(ServerLost)))), want: []string{
			"Warning ServersMissing Observe: 1 of 2 servers are ready; 1 not heard of (rk-1)"}},
		"a quarantine": {in: with(2, pods(1), these(aPod(1, is(ServerQuarantined)))), want: []string{
			"Warning Quarantined Observe: 1 of 2 servers are ready; 1 quarantined (rk-1)"}},
		"a refusal": {in: with(3, pods(2)).but(func(in *Input) { in.Refused = "exceeded quota" }), want: []string{
			"Warning Forbidden ScaleUp: 1 pod cannot be made: exceeded quota",
			"Warning ServersMissing Observe: 2 of 3 servers are ready; 1 to be made"}},
		"a tracker that fails": {in: with(2, pods(2)).but(func(in *Input) {
			in.Tracker.Reason, in.Tracker.Message = v1alpha1.ReasonNotListening, "address already in use"
		}), want: []string{"Warning NotListening Listen: address already in use"}},
	} {
		t.Run(name, func(t *testing.T) { same(t, "events", tc.want, told(Next(tc.in))) })
	}
}

func TestTheEndOfAScaleUpIsTold(t *testing.T) {
	in := aPool(1, pods(1, pending))
	in = in.seen(Next(in))
	in.Pods = pods(1, is(ServerStarting))
	same(t, "the pod has started", []string{"Normal UpToDate Observe: 1 of 1 pods are of the current revision"}, told(Next(in)))
	in = in.seen(Next(in))
	in.Pods = pods(1)
	same(t, "and its server is ready", []string{"Normal AllServersReady Observe: 1 of 1 servers are ready"}, told(Next(in)))
}
