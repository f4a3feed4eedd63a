package plan

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

func nativeCalls(in *Input) { in.Pool.Spec.Server.Protocol = v1alpha1.ProtocolRPC }

// TestReadySaysWhyWorkersDoNotServe: once, of however many servers.
func TestReadySaysWhyWorkersDoNotServe(t *testing.T) {
	says := func(why string) podIs {
		return func(p *Pod) { p.Ready, p.Server = false, &Server{State: ServerStarting, Reason: why} }
	}
	const usage, slow = "workers end before they serve: status 2: usage: worker.py", "workers do not become ready: no handshake within 30s"
	runSays(t, v1alpha1.ConditionReady, map[string]sayCase{
		"all for one reason": {aPool(2, pods(2, says(usage))).but(nativeCalls),
			"False ServersMissing: 0 of 2 servers are ready; 2 starting (rk-0, rk-1: " + usage + ")"},
		"of many, three are named": {aPool(20, pods(20, says(usage))).but(nativeCalls),
			"False ServersMissing: 0 of 20 servers are ready; 20 starting (rk-0, rk-1, rk-2 and 17 more: " + usage + ")"},
		"for two reasons, and for none": {aPool(5, these(aPod(0, says(usage)), aPod(1, says("")), aPod(2, says(slow)), aPod(3, says(usage)), aPod(4, says("")))).but(nativeCalls),
			"False ServersMissing: 0 of 5 servers are ready; 5 starting (rk-0, rk-3: " + usage + ", rk-1, rk-2: " + slow + " and 1 more)"},
		"the container's own trouble comes first": {aPool(1, pods(1, says(usage), problem("CrashLoopBackOff"))).but(nativeCalls),
			"False ServersMissing: 0 of 1 servers are ready; 1 starting (rk-0: CrashLoopBackOff)"},
	})
	runSays(t, v1alpha1.ConditionProgressing, map[string]sayCase{
		"a rollout waits for them": {aPool(4, pods(3, old), these(aPod(3, says(usage)))).but(nativeCalls),
			"True RollingOut: 1 of 4 pods are of the current revision; waits for servers to be ready: rk-3: " + usage},
	})
}

// TestServersOfCallsGoAtOnce: they are granted to nobody, and end their calls within the
// grace period of their pods.
func TestServersOfCallsGoAtOnce(t *testing.T) {
	starting := is(ServerStarting)
	run(t, map[string]actionCase{
		"those that are not ready are the first that are too many": {
			in:   aPool(1, these(aPod(0, starting, unready), aPod(1), aPod(2, starting, unready))).but(nativeCalls),
			want: names{Delete: []string{"rk-0 ScalingDown", "rk-2 ScalingDown"}},
		},
		"of those that are ready, the last": {
			in:   aPool(2, pods(3)).but(nativeCalls),
			want: names{Delete: []string{"rk-2 ScalingDown"}},
		},
		"a rollout keeps within what may be missing": {
			in:   aPool(3, pods(3, old)).but(nativeCalls).but(maxUnavailable(intstr.FromInt32(1))),
			want: names{Delete: []string{"rk-2 RollingOut"}},
		},
		"and waits for the next one to be ready": {
			in:   aPool(3, these(aPod(0, old), aPod(1, old), aPod(2, starting, unready))).but(nativeCalls).but(maxUnavailable(intstr.FromInt32(1))),
			want: names{},
		},
		"on a node that is cordoned they may be evicted, whatever they do": {
			in:   aPool(2, these(aPod(0, cordoned), aPod(1))).but(nativeCalls),
			want: names{Evictable: []string{"rk-0"}},
		},
		"elsewhere not": {
			in:   aPool(1, these(aPod(0, evictable))).but(nativeCalls),
			want: names{NotEvictable: []string{"rk-0"}},
		},
	})
}
