package plan

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"rpcpool.dev/api/v1alpha1"
)

// devices is what the server says of its RDMA devices.
func devices(reason, message string) podIs {
	return func(p *Pod) { p.Server.RDMA = RDMA{reason, message} }
}

var (
	works = devices(v1alpha1.ReasonDevicesReady, "0000:3b:00.2 (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 4096")
	down  = devices(v1alpha1.ReasonPortDown, "0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE")
	small = devices(v1alpha1.ReasonMemlockTooSmall, "at most 64 KiB")
)

func wantsRDMA(in *Input) {
	in.Pool.Spec.RDMA = &v1alpha1.RDMASpec{Mode: v1alpha1.RDMAAuto}
	in.Pool.Spec.Server.Protocol = v1alpha1.ProtocolRPC
}

func withRDMA(replicas int, sets ...[]Pod) Input { return aPool(replicas, sets...).but(wantsRDMA) }

func TestRDMAReadySaysWhoCannotUseItAndWhy(t *testing.T) {
	runSays(t, v1alpha1.ConditionRDMAReady, map[string]sayCase{
		"no servers":               {withRDMA(0), "Unknown NotChecked: no server has said yet whether it can use its RDMA devices"},
		"servers that are to come": {withRDMA(2, pods(2, pending)), "Unknown NotChecked: no server has said yet whether it can use its RDMA devices"},
		"servers that do not tell": {withRDMA(2, pods(2)), "Unknown NotChecked: no server has said yet whether it can use its RDMA devices"},
		"one that does not": {withRDMA(2, pods(1, works), these(aPod(1))),
			"Unknown NotChecked: 1 server did not say yet whether RDMA devices can be used: rk-1"},
		"all of them can":                   {withRDMA(3, pods(3, works)), "True DevicesReady: 3 servers can use RDMA"},
		"one of them, in a session":         {withRDMA(1, pods(1, works, busy)), "True DevicesReady: 1 server can use RDMA"},
		"one that is there, one to come":    {withRDMA(2, pods(1, works), these(aPod(1, pending))), "True DevicesReady: 1 server can use RDMA"},
		"one of two cannot, and is offered": {withRDMA(2, pods(1, works), these(aPod(1, down))), "False PortDown: 1 of 2 servers cannot use RDMA: rk-1: PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"},
		"one cannot, and is withdrawn": {withRDMA(2, pods(1, works), these(aPod(1, is(ServerQuarantined), down))),
			"False PortDown: 1 of 2 servers cannot use RDMA: rk-1: PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"},
		"several, for several reasons": {withRDMA(5, these(aPod(0, works), aPod(1, small), aPod(2, down), aPod(3, small), aPod(4, small))),
			"False MemlockTooSmall: 4 of 5 servers cannot use RDMA: rk-1: MemlockTooSmall: at most 64 KiB, rk-2: PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE, " +
				"rk-3: MemlockTooSmall: at most 64 KiB and 1 more"},
		"what a lost server said is not true any more": {withRDMA(2, pods(1, works), these(aPod(1, down, is(ServerLost)))), "True DevicesReady: 1 server can use RDMA"},
		"nor what one says whose pod is deleted":       {withRDMA(1, pods(1, works), these(aPod(1, down, terminating))), "True DevicesReady: 1 server can use RDMA"},
		"not known yet": {withRDMA(2, pods(2, unknown)).but(unsettled),
			"Unknown Settling: whether servers can use their RDMA devices is not known: the tracker has just started and waits for servers and clients to come back"},
	})
}

// TestDevicesThatNobodyUsesAreNotReady: sessions have no blobs, so that devices which work
// are of no use to a pool of them. What is wrong with the devices is told all the same.
func TestDevicesThatNobodyUsesAreNotReady(t *testing.T) {
	sessions := func(in *Input) { in.Pool.Spec.Server.Protocol = v1alpha1.ProtocolTVM }
	runSays(t, v1alpha1.ConditionRDMAReady, map[string]sayCase{
		"no server has said anything": {withRDMA(1, pods(1)).but(sessions), "Unknown NotChecked: no server has said yet whether it can use its RDMA devices"},
		"they work":                   {withRDMA(2, pods(2, works)).but(sessions), "False NotUsed: 2 servers can use RDMA, and do not: server.protocol is TVM, whose sessions have nothing that goes by it"},
		"one does not": {withRDMA(2, pods(1, works), these(aPod(1, down))).but(sessions),
			"False PortDown: 1 of 2 servers cannot use RDMA: rk-1: PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"},
	})
	in := withRDMA(1, pods(1)).but(sessions)
	in = in.seen(Next(in))
	in.Pods = pods(1, works)
	same(t, "events", []string{"Warning NotUsed Observe: 1 server can use RDMA, and do not: server.protocol is TVM, whose sessions have nothing that goes by it"}, told(Next(in)))
}

func TestRDMAReadyIsOfPoolsThatWantIt(t *testing.T) {
	for name, spec := range map[string]*v1alpha1.RDMASpec{"none": nil, "off": {Mode: v1alpha1.RDMAOff}} {
		in := aPool(1, pods(1, down))
		in.Pool.Spec.RDMA = spec
		if c := meta.FindStatusCondition(Next(in).Status.Conditions, v1alpha1.ConditionRDMAReady); c != nil {
			t.Errorf("%s: %v", name, c)
		}
	}
}

// TestRDMAReadyOutlivesTheOperator: the next one says nothing before it knows.
func TestRDMAReadyOutlivesTheOperator(t *testing.T) {
	in := withRDMA(2, pods(2, down))
	first := Next(in)
	in = in.seen(first)
	in.Pods = pods(2, unknown)
	next := Next(in.but(unsettled))
	same(t, "RDMAReady", says(t, first, v1alpha1.ConditionRDMAReady), says(t, next, v1alpha1.ConditionRDMAReady))
	same(t, "events", []string(nil), told(next))
}

func TestRDMAReadyHasABound(t *testing.T) {
	in := withRDMA(9, pods(9, devices(v1alpha1.ReasonNoGID, strings.Repeat("ü", 256))))
	got := meta.FindStatusCondition(Next(in).Status.Conditions, v1alpha1.ConditionRDMAReady).Message
	if len(got) > maxMessage || !strings.HasSuffix(got, "ü…") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestEventsOfRDMA(t *testing.T) {
	const (
		breaks = "Warning PortDown Observe: 1 of 1 server cannot use RDMA: rk-0: PortDown: 0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"
		mended = "Normal DevicesReady Observe: 1 server can use RDMA"
	)
	in := withRDMA(1, pods(1))
	in = in.seen(Next(in))
	for _, step := range []struct {
		what string
		pods []Pod
		want []string
	}{
		{"the first look", pods(1, works), nil},
		{"a session", pods(1, works, busy), nil},
		{"the link goes down", pods(1, down), []string{breaks}},
		{"it stays so", pods(1, down, busy), nil},
		{"it is up again", pods(1, works), []string{mended}},
	} {
		in.Pods = step.pods
		p := Next(in)
		same(t, step.what, step.want, told(p))
		in = in.seen(p)
	}
}

func TestARefusalOfPodsWithRDMASaysWhatTheirNamespaceLacks(t *testing.T) {
	security := func(in *Input) {
		in.Refused = `pods "rk-0" is forbidden: violates PodSecurity "baseline:latest": IPC_LOCK`
	}
	quota := func(in *Input) { in.Refused = "exceeded quota" }
	runSays(t, v1alpha1.ConditionProgressing, map[string]sayCase{
		"by Pod Security": {withRDMA(1).but(security), "False Forbidden: 1 pod cannot be made, " +
			"as spec.rdma needs a namespace with pod-security.kubernetes.io/enforce: privileged: " +
			`pods "rk-0" is forbidden: violates PodSecurity "baseline:latest": IPC_LOCK`},
		"by a quota": {withRDMA(1).but(quota), "False Forbidden: 1 pod cannot be made: exceeded quota"},
		"of others":  {aPool(1).but(security), `False Forbidden: 1 pod cannot be made: pods "rk-0" is forbidden: violates PodSecurity "baseline:latest": IPC_LOCK`},
	})
}
