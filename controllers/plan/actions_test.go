package plan

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

func ordinals(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func unsettled(in *Input) { in.Tracker.Settled = false }

func maxUnavailable(v intstr.IntOrString) func(*Input) {
	return func(in *Input) { in.Pool.Spec.Rollout.MaxUnavailable = &v }
}

func drainTimeout(d time.Duration) func(*Input) {
	return func(in *Input) { in.Pool.Spec.Rollout.DrainTimeout = &metav1.Duration{Duration: d} }
}

type actionCase struct {
	in   Input
	want names
	// wantWake is how long after the observation; 0: not at all.
	wantWake time.Duration
}

func run(t *testing.T, cases map[string]actionCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Next(tc.in)
			same(t, "actions", tc.want, namesOf(got))
			var wantWake time.Time
			if tc.wantWake != 0 {
				wantWake = start.Add(tc.wantWake)
			}
			same(t, "wake", wantWake, got.Wake)
		})
	}
}

func TestPodsAreMadeLowestOrdinalFirstAndInGrowingBatches(t *testing.T) {
	run(t, map[string]actionCase{
		"a new pool begins with eight":                 {in: aPool(100), want: names{Create: ordinals(0, 8)}},
		"a pool without replicas has one":              {in: aPool(0).but(func(in *Input) { in.Pool.Spec.Replicas = nil }), want: names{Create: []int{0}}},
		"no more than eight are on their way at first": {in: aPool(100, pods(8, pending)), want: names{}},
		"twice as many as have started may be on their way": {
			in: aPool(100, pods(10), these(aPod(10, pending))), want: names{Create: ordinals(11, 30)}},
		"and never more than 500": {in: aPool(5000, pods(1000)), want: names{Create: ordinals(1000, 1500)}},
		"gaps are filled first":   {in: aPool(4, these(aPod(1), aPod(5))), want: names{Create: []int{0, 2}}},
		"a terminating pod keeps its name and its place": {
			in: aPool(3, pods(1), these(aPod(1, terminating))), want: names{Create: []int{2}}},
		"nothing is made while as many exist as are asked for, terminating ones included": {
			in: aPool(2, pods(1), these(aPod(4, terminating))), want: names{}},
		"a failed pod keeps its name and its place until it is gone": {
			in: aPool(2, pods(1), these(aPod(1, failed, retryIn(time.Minute)))), want: names{}, wantWake: time.Minute},
		"after a refusal one is tried": {
			in: aPool(9).but(func(in *Input) { in.Refused = "exceeded quota" }), want: names{Create: []int{0}}},
		"a pod that no node has room for holds the others back": {
			in: aPool(20, pods(5), these(aPod(5, unschedulable))), want: names{}},
		"so does one that does not start": {
			in: aPool(20, pods(5), these(aPod(5, pending, problem("ErrImagePull")))), want: names{}},
		"but not in its first ten seconds": {
			in:   aPool(8, pods(5), these(aPod(5, pending, problem("ErrImagePull"), aged(4*time.Second)))),
			want: names{Create: []int{6, 7}}, wantWake: 6 * time.Second},
		"pods are made while the tracker settles": {in: aPool(2, pods(1)).but(unsettled), want: names{Create: []int{1}}},
		"a pool that is being deleted gets and loses none": {
			in: aPool(4, pods(1), these(aPod(1, failed), aPod(2, old))).but(func(in *Input) {
				in.Pool.DeletionTimestamp = &metav1.Time{Time: start}
			}), want: names{}},
	})
}

func TestFailedPodsAreReplaced(t *testing.T) {
	run(t, map[string]actionCase{
		"at once if it need not wait":       {in: aPool(1, pods(1, failed)), want: names{Delete: []string{"rk-0 PodReplaced"}}},
		"not before RetryAt":                {in: aPool(1, pods(1, failed, retryIn(time.Second))), wantWake: time.Second},
		"at RetryAt":                        {in: aPool(1, pods(1, failed, retryIn(0))), want: names{Delete: []string{"rk-0 PodReplaced"}}},
		"while the tracker settles as well": {in: aPool(1, pods(1, failed)).but(unsettled), want: names{Delete: []string{"rk-0 PodReplaced"}}},
		"at once if its successor is another": {
			in: aPool(1, pods(1, failed, old, retryIn(time.Hour))), want: names{Delete: []string{"rk-0 PodReplaced"}}},
		"not at all if it is one too many; that with the longest wait goes": {
			in:   aPool(2, pods(1), these(aPod(1, failed, retryIn(time.Minute)), aPod(2, failed, retryIn(time.Hour)))),
			want: names{Delete: []string{"rk-2 ScalingDown"}}, wantWake: time.Minute},
		"of a node that is gone, without grace": {
			in: aPool(1, pods(1, busy, nodeGone)), want: names{Delete: []string{"rk-0 PodReplaced 0s"}}},
		"of a node that is gone, though it was terminating": {
			in: aPool(1, pods(1, terminating, nodeGone)), want: names{Delete: []string{"rk-0 PodReplaced 0s"}}},
	})
}

func TestVictimsOfAScaleDownGoInTheirOrder(t *testing.T) {
	all := these(
		aPod(0, busy), aPod(1, busy, aged(time.Minute)), aPod(2), aPod(3, aged(time.Minute)), aPod(4, is(ServerStarting)),
		aPod(5, is(ServerQuarantined)), aPod(6, is(ServerQuarantined), draining(0)), aPod(7, old, aged(2*time.Hour)),
	)
	want := []int{6, 5, 4, 7, 3, 2, 1, 0}
	for n := range want {
		p := newPlanning(aPool(len(want)-n-1, all))
		p.chooseExcess()
		if m := p.with(func(m *member) bool { return m.Ordinal == want[n] })[0]; m.role != roleExcess {
			t.Errorf("%d pods too many: %s is not among the victims", n+1, m.Name)
		}
	}
	same(t, "equals go by ordinal, highest first", []string{"rk-2"}, namesOf(Next(aPool(2, pods(3)))).Drain)
}

func TestAVictimIsDrainedAndThenDeleted(t *testing.T) {
	const reason = "rk-0 ScalingDown"
	run(t, map[string]actionCase{
		"a free server is held first":    {in: aPool(0, pods(1)), want: names{Drain: []string{"rk-0"}}, wantWake: again},
		"so is a quarantined one":        {in: aPool(0, pods(1, is(ServerQuarantined))), want: names{Drain: []string{"rk-0"}}, wantWake: again},
		"and a busy one":                 {in: aPool(0, pods(1, busy)), want: names{Drain: []string{"rk-0"}}, wantWake: again},
		"a pod that never ran just goes": {in: aPool(0, pods(1, unschedulable)), want: names{Delete: []string{reason}}},
		"unless its kubelet is silent":   {in: aPool(0, pods(1, pending, nodeNotReady)), want: names{Drain: []string{"rk-0"}}, wantWake: again},
		"held and in no session: deleted": {
			in: aPool(0, pods(1, is(ServerDraining), draining(time.Second))), want: names{Delete: []string{reason}}},
		"quarantined and held: deleted": {
			in: aPool(0, pods(1, is(ServerQuarantined), draining(time.Second))), want: names{Delete: []string{reason}}},
		"not ready and not known: deleted": {
			in: aPool(0, pods(1, unknown, unready, draining(time.Second))), want: names{Delete: []string{reason}}},
		"offered in spite of the hold: looked at again": {in: aPool(0, pods(1, draining(time.Second))), wantWake: again},
		"busy: it may finish":                           {in: aPool(0, pods(1, busy, draining(9*time.Minute))), wantWake: time.Minute},
		"busy at the deadline: killed": {
			in: aPool(0, pods(1, busy, draining(10*time.Minute))), want: names{Delete: []string{"rk-0 DrainTimeout 7s"}}},
		"with a grace period that covers the kill of the worker": {
			in: aPool(0, pods(1, busy, draining(time.Minute))).but(drainTimeout(0)).but(func(in *Input) {
				in.Pool.Spec.Server.KillGracePeriod = &metav1.Duration{Duration: 3100 * time.Millisecond}
			}), want: names{Delete: []string{"rk-0 DrainTimeout 9s"}}},
		"ready but unknown to the tracker: it may be in a session": {
			in: aPool(0, pods(1, unknown, draining(10*time.Second))), wantWake: 20 * time.Second},
		"unknown for half a minute: its own grace period is enough": {
			in: aPool(0, pods(1, is(ServerLost), draining(30*time.Second))), want: names{Delete: []string{reason}}},
		"not ready by the word of a silent kubelet: it may be in a session": {
			in: aPool(0, pods(1, is(ServerLost), unready, nodeNotReady, draining(0))), wantWake: unheardFor},
		"nothing happens while the tracker settles": {
			in: aPool(0, pods(1, is(ServerDraining), draining(time.Hour))).but(unsettled)},
		"one that need not go any more is offered again": {
			in: aPool(1, pods(1, busy, draining(time.Hour))), want: names{Undrain: []string{"rk-0"}}},
		"one that drains is the victim of the next scale-down": {
			in: aPool(1, these(aPod(0, busy, draining(time.Minute)), aPod(1))), wantWake: 9 * time.Minute},
	})
}

func TestARolloutKeepsServersOffered(t *testing.T) {
	run(t, map[string]actionCase{
		"a quarter at a time": {in: aPool(8, pods(8, old)), want: names{Drain: []string{"rk-6", "rk-7"}}, wantWake: again},
		"rounded up":          {in: aPool(5, pods(5, old)), want: names{Drain: []string{"rk-3", "rk-4"}}, wantWake: again},
		"or a number": {
			in: aPool(8, pods(8, old)).but(maxUnavailable(intstr.FromInt32(1))), want: names{Drain: []string{"rk-7"}}, wantWake: again},
		"and never less than one": {
			in: aPool(8, pods(8, old)).but(maxUnavailable(intstr.FromString("rubbish"))), want: names{Drain: []string{"rk-7"}}, wantWake: again},
		"free ones before busy ones": {
			in: aPool(4, these(aPod(0, old), aPod(1, old, busy), aPod(2, old, busy), aPod(3, old, busy))), want: names{Drain: []string{"rk-0"}}, wantWake: again},
		"none while as many are missing already": {in: aPool(4, pods(3, old), these(aPod(3, pending))), want: names{}},
		"none while as many drain already": {
			in: aPool(4, pods(3, old), these(aPod(3, old, busy, draining(0)))), wantWake: 10 * time.Minute},
		"old pods that serve nobody go without regard to that": {
			in:   aPool(4, these(aPod(0, old, pending), aPod(1, old, unschedulable), aPod(2, old, is(ServerQuarantined)), aPod(3, old))),
			want: names{Drain: []string{"rk-2"}, Delete: []string{"rk-0 RollingOut", "rk-1 RollingOut"}}, wantWake: again},
		"an old pod on a cordoned node goes without regard to that": {
			in: aPool(2, these(aPod(0, old), aPod(1, old, cordoned, is(ServerDraining)))), want: names{Drain: []string{"rk-1"}, Evictable: []string{"rk-1"}}, wantWake: again},
		"pods in excess first, which cost the rollout nothing": {
			in:   aPool(4, pods(4, old), these(aPod(4), aPod(5, old))),
			want: names{Drain: []string{"rk-2", "rk-3", "rk-5"}}, wantWake: again},
		"what drains goes on though fewer may be missing now": {
			in: aPool(3, pods(1, old), these(aPod(1, old, busy, draining(0)), aPod(2, old, busy, draining(0)))), wantWake: 10 * time.Minute},
		"a template that was changed back keeps what drains": {
			in: aPool(2, pods(2, busy, draining(time.Minute))), want: names{Undrain: []string{"rk-0", "rk-1"}}},
		"none while the tracker settles":                               {in: aPool(4, pods(4, old)).but(unsettled)},
		"none that are ready, while the tracker has not heard of them": {in: aPool(8, pods(8, old, unknown))},
		"nor as long as it has heard of too few": {
			in: aPool(4, these(aPod(0, old), aPod(1, old), aPod(2, old), aPod(3, old, is(ServerLost))))},
		"of those that it has not heard of, as many as may be missing, and free ones first": {
			in: aPool(8, pods(7, old), these(aPod(7, old, unknown))), want: names{Drain: []string{"rk-6"}}, wantWake: again},
	})
}

func TestServersThatMustNotBeOfferedAreHeld(t *testing.T) {
	uids := func(ordinals ...int) []types.UID {
		var out []types.UID
		for _, o := range ordinals {
			out = append(out, types.UID(fmt.Sprintf("uid-%d", o)))
		}
		return out
	}
	for name, tc := range map[string]struct {
		in   Input
		want []types.UID
	}{
		"none of a pool at rest":    {in: aPool(3, these(aPod(0), aPod(1, busy), aPod(2, is(ServerQuarantined))))},
		"terminating":               {in: aPool(2, pods(1), these(aPod(1, terminating))), want: uids(1)},
		"draining":                  {in: aPool(2, pods(1), these(aPod(1, old, busy, draining(0)))), want: uids(1)},
		"on a cordoned node":        {in: aPool(2, pods(1), these(aPod(1, cordoned))), want: uids(1)},
		"on a node that is silent":  {in: aPool(2, pods(1), these(aPod(1, nodeNotReady))), want: uids(1)},
		"a victim chosen now":       {in: aPool(1, pods(2)), want: uids(1)},
		"not what drains no longer": {in: aPool(1, pods(1, busy, draining(0)))},
		"what drains while the tracker settles, whatever the replicas": {
			in: aPool(1, pods(1, busy, draining(0))).but(unsettled), want: uids(0)},
		"all of a pool that is being deleted": {
			in: aPool(2, pods(2)).but(func(in *Input) { in.Pool.DeletionTimestamp = &metav1.Time{Time: start} }), want: uids(0, 1)},
	} {
		t.Run(name, func(t *testing.T) { same(t, "hold", tc.want, Next(tc.in).Hold) })
	}
}

func TestPodsAreEvictableWhenTheirNodeIsCordonedAndTheirSessionIsOver(t *testing.T) {
	run(t, map[string]actionCase{
		"free: not before it is held": {in: aPool(1, pods(1, cordoned))},
		"busy: not":                   {in: aPool(1, pods(1, cordoned, busy))},
		"held: yes":                   {in: aPool(1, pods(1, cordoned, is(ServerDraining))), want: names{Evictable: []string{"rk-0"}}},
		"quarantined: yes":            {in: aPool(1, pods(1, cordoned, is(ServerQuarantined))), want: names{Evictable: []string{"rk-0"}}},
		"never started: yes":          {in: aPool(1, pods(1, cordoned, pending)), want: names{Evictable: []string{"rk-0"}}},
		"ready, but unknown: not":     {in: aPool(1, pods(1, cordoned, unknown))},
		"said already: not again":     {in: aPool(1, pods(1, cordoned, is(ServerDraining), evictable))},
		"node in service again: not any more": {
			in: aPool(1, pods(1, evictable)), want: names{NotEvictable: []string{"rk-0"}}},
		"node in service again while the tracker settles: not any more": {
			in: aPool(1, pods(1, evictable, unknown)).but(unsettled), want: names{NotEvictable: []string{"rk-0"}}},
		"while the tracker settles: as before": {
			in: aPool(2, these(aPod(0, cordoned, evictable, unknown), aPod(1, cordoned, is(ServerDraining)))).but(unsettled)},
		"without a budget nothing is labelled": {
			in: aPool(1, pods(1, cordoned, is(ServerDraining))).but(func(in *Input) {
				in.Pool.Spec.DisruptionBudget = v1alpha1.DisruptionBudgetNone
			})},
		"what is deleted is not labelled": {
			in:   aPool(0, pods(1, cordoned, is(ServerDraining), draining(0))),
			want: names{Delete: []string{"rk-0 ScalingDown"}}},
	})
}
