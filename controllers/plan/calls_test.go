package plan

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"rpcpool.dev/api/v1alpha1"
)

func nativeCalls(in *Input) { in.Pool.Spec.Server.Protocol = v1alpha1.ProtocolRPC }

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
