package build

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/rpc/workers"
)

// TestASidecarHasTheMemoryThatItsFlagsAllow: its own, and that of blobs, messages and replies.
func TestASidecarHasTheMemoryThatItsFlagsAllow(t *testing.T) {
	mib := func(n int64) *resource.Quantity { return resource.NewQuantity(n<<20, resource.BinarySI) }
	memory := func(request, limit string) Settings {
		return Settings{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)},
		}}
	}
	for name, c := range map[string]struct {
		pool           string
		calls          *v1alpha1.Calls
		rdma           bool
		settings       Settings
		request, limit int64 // MiB
		garbage        int64 // MiB: GOMEMLIMIT; 0: not set
	}{
		"sessions":            {"least", nil, false, Settings{}, 32, 128, 0},
		"sessions with RDMA":  {"rdma", nil, true, Settings{}, 32, 128, 0},
		"calls":               {"calls", nil, false, Settings{}, 32, 128 + 256 + 1024 + 3 + 4, 64 + 1024 + 3 + 4},
		"much of all":         {"calls", &v1alpha1.Calls{BlobMemory: mib(4096), JournalSize: mib(1024)}, false, Settings{}, 32, 128 + 4096 + 1024 + 3 + 256, 64 + 1024 + 3 + 256},
		"calls with RDMA":     {"calls", nil, true, Settings{}, 32 + 256, 128 + 256 + 1024 + 3 + 4, 64 + 1024 + 3 + 4},
		"other settings":      {"calls", nil, true, memory("100Mi", "200Mi"), 100 + 256, 200 + 256 + 1024 + 3 + 4, 100 + 1024 + 3 + 4},
		"many workers":        {"calls", &v1alpha1.Calls{Workers: 3, Concurrency: 64}, false, Settings{}, 32, 128 + 256 + 1024 + 36 + 4, 64 + 1024 + 36 + 4},
		"settings of no such": {"calls", nil, true, Settings{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pool := example(t, c.pool)
			if pool.Spec.NativeCalls() {
				pool.Spec.Server.Calls = c.calls
			}
			if c.rdma && pool.Spec.RDMA == nil {
				pool.Spec.RDMA = &v1alpha1.RDMASpec{ResourceName: "openshift.io/rdma_vf"}
			}
			c.settings.Image = "x"
			pod, err := Pod(pool, c.settings, 1)
			if err != nil {
				t.Fatal(err)
			}
			its := container(t, pod, sidecarName)
			if r, l := its.Resources.Requests.Memory(), its.Resources.Limits.Memory(); r.Value() != c.request<<20 || l.Value() != c.limit<<20 {
				t.Errorf("the sidecar requests %s of memory and may have %s, want %d and %d MiB", r, l, c.request, c.limit)
			}
			want := mib(c.garbage)
			if i := slices.IndexFunc(its.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" }); c.garbage == 0 && i >= 0 ||
				c.garbage > 0 && (i < 0 || its.Env[i].Value != inBytes(want)) {
				t.Errorf("environment %v, want a heap of %s", its.Env, want)
			}
			if agent := container(t, pod, agentName); agent.Resources.Limits.Memory().Value() > 200<<20 {
				t.Errorf("the agent's installation may have %s", agent.Resources.Limits.Memory())
			}
		})
	}
}

// TestPagesSayWhatIsAddedToTheSidecarsMemory: the sum with nothing said, and what of it is not the
// sidecar's own.
func TestPagesSayWhatIsAddedToTheSidecarsMemory(t *testing.T) {
	pool := example(t, "calls")
	pool.Spec.Server.Calls = nil
	pod, err := Pod(pool, Settings{Image: "x"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	own := resource.MustParse("128Mi")
	limit := container(t, pod, sidecarName).Resources.Limits.Memory().DeepCopy()
	sum := fmt.Sprintf("%dMi", limit.Value()>>20)
	limit.Sub(own)
	added := fmt.Sprintf("%dMi", limit.Value()>>20)
	for page, want := range map[string]string{
		"docs/kubernetes.md":         "| the sum | " + sum + " |",
		"docs/upgrading.md":          sum + ": quotas of a namespace must allow that",
		"charts/rpcpool/README.md":   ", " + added + " where its manifest says nothing",
		"charts/rpcpool/values.yaml": ": " + added + " where it says nothing",
	} {
		if text, err := os.ReadFile("../../" + page); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q (%v)", page, want, err)
		}
	}
}

// TestAWorkersChannelHasWhatTheSidecarLetsItSend: the sum counts on that.
func TestAWorkersChannelHasWhatTheSidecarLetsItSend(t *testing.T) {
	for _, concurrency := range []int{1, 2, 16, 17, 1024} {
		if of, is := channelMemory+min(concurrency, mostCalls)*callMemory, workers.Window(concurrency); of != is {
			t.Errorf("%d calls: it has %d bytes, and may send %d", concurrency, of, is)
		}
	}
}
