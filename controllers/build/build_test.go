package build

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/local"
	"rpcpool.dev/internal/manifest"
	"rpcpool.dev/internal/metrics"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
)

var update = flag.Bool("update", false, "write the golden files")

var settings = Settings{Image: "registry.example.com/rpcpool:v1", PullPolicy: corev1.PullIfNotPresent}

// newReader compiles the definition's rules, which takes long, once.
var newReader = sync.OnceValues(manifest.NewReader)

// load reads the pool of a manifest, with its defaults.
func load(t testing.TB, file string) *v1alpha1.RPCPool {
	t.Helper()
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pools, err := reader.Read(file, text)
	if err != nil {
		t.Fatal(err)
	}
	pool := pools[0].RPCPool
	pool.UID = types.UID("0b5e1f1e-0000-4000-8000-" + pool.Name)
	return &pool
}

func example(t testing.TB, name string) *v1alpha1.RPCPool {
	t.Helper()
	return load(t, filepath.Join("testdata", name+".yaml"))
}

func podOf(t testing.TB, pool *v1alpha1.RPCPool) *corev1.Pod {
	t.Helper()
	pod, err := Pod(pool, settings, 1)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestObjectsAreTheGoldenOnes(t *testing.T) {
	for _, name := range []string{"least", "most", "rdma", "claim", "host", "calls", "calls-rdma", "calls-claim"} {
		t.Run(name, func(t *testing.T) {
			pool := example(t, name)
			owners := []*v1alpha1.RPCPool{pool}
			id, address := pool.Spec.Tracker, "192.0.2.1"
			if name == "host" {
				address = "2001:db8::1"
			}
			objects := []any{
				podOf(t, pool), TrackerService(pool.Namespace, id.Name, owners),
				TrackerEndpoints(pool.Namespace, id.Name, address, 20007, owners),
			}
			if b := DisruptionBudget(pool); b != nil {
				objects = append(objects, b)
			}
			if p := NetworkPolicy(pool); p != nil {
				objects = append(objects, p)
			}
			if c := ClaimTemplate(pool); c != nil {
				objects = append(objects, c)
			}
			var text bytes.Buffer
			for _, o := range objects {
				b, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n")
				text.Write(b)
			}
			file := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), text.String()); d != "" {
				t.Errorf("%s (-want +got), to be written by go test -update:\n%s", file, d)
			}
		})
	}
}

// container returns a pod's container by its name.
func container(t testing.TB, pod *corev1.Pod, name string) *corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	t.Fatalf("no container %s", name)
	return nil
}

func TestWhatTheTemplateSaysStays(t *testing.T) {
	pool := example(t, "most")
	pod, template := podOf(t, pool), pool.Spec.Template
	device, theirs := container(t, pod, "device"), &template.Spec.Containers[1]
	for what, pair := range map[string][2]any{
		"image":     {device.Image, theirs.Image},
		"env":       {device.Env, theirs.Env},
		"resources": {device.Resources, theirs.Resources},
		"probe":     {device.LivenessProbe, theirs.LivenessProbe},
		"mounts":    {device.VolumeMounts[:1], theirs.VolumeMounts},
		"program":   {device.Command[slices.Index(device.Command, "--")+1:], []string{"python3", "/opt/other.py", "$(MODE)"}},
		"log":       {*container(t, pod, "log"), template.Spec.Containers[0]},
		"fetch":     {pod.Spec.InitContainers[2], template.Spec.InitContainers[0]},
		"nodes":     {pod.Spec.NodeSelector, template.Spec.NodeSelector},
		"group":     {pod.Spec.SecurityContext, template.Spec.SecurityContext},
		"grace":     {*pod.Spec.TerminationGracePeriodSeconds, int64(600)},
		"token":     {*pod.Spec.AutomountServiceAccountToken, true},
		"label":     {pod.Labels["app"], "tuning"},
		"note":      {pod.Annotations["example.com/note"], "kept"},
	} {
		if d := cmp.Diff(pair[1], pair[0]); d != "" {
			t.Errorf("%s (-template +pod):\n%s", what, d)
		}
	}
	if d := cmp.Diff(example(t, "most").Spec.Template, template); d != "" {
		t.Errorf("the manifest's own template was changed:\n%s", d)
	}
}

func TestASessionCanFinishWithinThePodsGracePeriod(t *testing.T) {
	pod := podOf(t, example(t, "least"))
	if got, want := *pod.Spec.TerminationGracePeriodSeconds, int64(10*60+2+5); got != want {
		t.Errorf("%d s, want drainTimeout, killGracePeriod and a margin: %d s", got, want)
	}
	if *pod.Spec.AutomountServiceAccountToken {
		t.Error("a token is mounted")
	}
	sidecar := container(t, pod, sidecarName)
	if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the sidecar is not a native one: it would end with the device container, or before")
	}
	if p := container(t, pod, "device").LivenessProbe; p == nil || p.HTTPGet.Path != "/agentz" {
		t.Errorf("the device container's liveness probe is %v: nobody starts an agent again that is stopped", p)
	}
	for what, p := range map[string]*corev1.Probe{"startup": sidecar.StartupProbe, "liveness": sidecar.LivenessProbe} {
		if p.HTTPGet.Path != "/healthz" {
			t.Errorf("the %s probe asks for more than the sidecar's own life", what)
		}
	}
}

func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(level api.Level, pool *v1alpha1.RPCPool) (bool, string) {
		pod := podOf(t, pool)
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
		return result.Allowed, result.ForbiddenDetail()
	}
	if ok, why := allowed(api.LevelRestricted, example(t, "least")); !ok {
		t.Errorf("a pool of our own image is not restricted: %s", why)
	}
	own := example(t, "host")
	own.Spec.RDMA, own.Spec.Template.Spec.HostNetwork = nil, false
	for i := range own.Spec.Template.Spec.Containers {
		own.Spec.Template.Spec.Containers[i].SecurityContext = restricted()
	}
	if ok, why := allowed(api.LevelRestricted, own); !ok {
		t.Errorf("a restricted template is not restricted any more: %s", why)
	}
	rdma := example(t, "rdma")
	for _, level := range []api.Level{api.LevelRestricted, api.LevelBaseline} {
		if ok, _ := allowed(level, rdma); ok {
			t.Errorf("a pool with RDMA passes %s: the documents say otherwise", level)
		}
	}
	if ok, why := allowed(api.LevelPrivileged, rdma); !ok {
		t.Error(why)
	}
	rdma.Spec.RDMA = nil
	if ok, why := allowed(api.LevelBaseline, rdma); !ok {
		t.Errorf("the same without RDMA: %s", why)
	}
}

// parsed is what the sidecar makes of its command line.
func parsed(t *testing.T, pool *v1alpha1.RPCPool) sidecar.Options {
	t.Helper()
	command := started(container(t, podOf(t, pool), sidecarName))[1:]
	if i := slices.Index(command, "--listen") + 1; command[i] != fmt.Sprintf(":%d", withDefaults(pool).Spec.Server.Port) {
		t.Errorf("it listens on %s", command[i])
	} else {
		command[i] = "127.0.0.1:0"
	}
	var f sidecar.Flags
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	f.Register(set)
	set.String("agent-socket", "", "")
	scraped := set.String("metrics", "", "")
	if err := set.Parse(command); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(pool.Spec.Server.Command, set.Args(), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("worker (-manifest +sidecar):\n%s", d)
	}
	if err := metrics.CheckAddr(*scraped); err != nil {
		t.Error(err)
	}
	o, err := f.Options()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Listener.Close() })
	return o
}

func TestTheSidecarUnderstandsTheManifestAsLocalDoes(t *testing.T) {
	for _, file := range []string{"testdata/least.yaml", "testdata/most.yaml", "testdata/host.yaml", "../../config/samples/rpcpool-minimal.yaml", "../../config/samples/rpcpool-board.yaml", "../../config/samples/rpcpool-gpu.yaml"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			pool := load(t, file)
			o := parsed(t, pool)
			plan, err := local.NewPlan([]manifest.Pool{{RPCPool: *pool}}, func(p string) (string, error) { return p, nil })
			if err != nil {
				t.Fatal(err)
			}
			s := plan.Servers[0].Settings
			flavour, err := tvm.ParseFlavour(s.Flavour)
			if err != nil {
				t.Fatal(err)
			}
			for what, pair := range map[string][2]any{
				"advertise":  {o.Advertise, podFields["status.podIP"]},
				"name":       {o.Name, podFields["metadata.name"]},
				"instance":   {o.Instance, podFields["metadata.uid"]},
				"key":        {o.Key, plan.Servers[0].Key},
				"tracker":    {o.Tracker, pool.Spec.Tracker.Name + "." + pool.Namespace + ".svc:" + plan.Servers[0].Tracker[len("127.0.0.1:"):]},
				"isolation":  {string(o.Isolation), strings.ToLower(s.Isolation)},
				"flavour":    {o.Flavour, flavour},
				"warm":       {o.Warm, s.WarmWorkers},
				"default":    {o.SessionTimeout.Default, s.DefaultTimeout},
				"max":        {o.SessionTimeout.Max, s.MaxTimeout},
				"handshake":  {o.HandshakeTimeout, s.HandshakeTimeout},
				"grace":      {o.KillGrace, max(s.KillGrace, time.Nanosecond)},
				"heartbeat":  {o.Heartbeat, s.Heartbeat},
				"upload":     {o.Budgets["upload"], s.Budgets.Upload},
				"load":       {o.Budgets["load"], s.Budgets.Load},
				"run":        {o.Budgets["run"], s.Budgets.Run},
				"cpu":        {o.Limits.CPU, s.Limits.CPU},
				"memory":     {o.Limits.Memory, s.Limits.Memory},
				"processes":  {o.Limits.Processes, s.Limits.Processes},
				"open files": {o.Limits.OpenFiles, s.Limits.OpenFiles},
				"work dir":   {o.Limits.WorkDir, s.WorkDirLimit},
				"file":       {o.Limits.File, s.WorkDirLimit},
				"failures":   {o.Quarantine.Failures, s.Failures},
				"window":     {o.Quarantine.Window, s.Window},
				"drain":      {o.DrainTimeout, pool.Spec.Rollout.DrainTimeout.Duration},
				"dump":       {o.Dump != 0, s.KillDump != "None"},
			} {
				if d := cmp.Diff(pair[1], pair[0]); d != "" {
					t.Errorf("%s (-local +sidecar):\n%s", what, d)
				}
			}
		})
	}
}

func TestAPoolWithoutDefaultsIsRenderedWithThem(t *testing.T) {
	pool := &v1alpha1.RPCPool{}
	pool.Name, pool.Namespace = "bare", "tuning"
	pod := podOf(t, pool)
	if *pod.Spec.TerminationGracePeriodSeconds != 607 || container(t, pod, "device").Image != settings.Image {
		t.Errorf("%+v", pod.Spec)
	}
}

func TestATemplateWithoutADeviceContainerIsAnError(t *testing.T) {
	pool := example(t, "most")
	pool.Spec.Template.Spec.Containers[1].Name = "npu"
	if _, err := Pod(pool, settings, 0); err == nil {
		t.Error("rendered")
	}
	if _, err := Revision(pool, settings); err == nil {
		t.Error("it has a revision")
	}
}

func TestEndpointsOfIPv6(t *testing.T) {
	slice := TrackerEndpoints("tuning", "t", "2001:db8::1", 20000, nil)
	if slice.AddressType != "IPv6" || slice.Endpoints[0].Addresses[0] != "2001:db8::1" {
		t.Errorf("%+v", slice)
	}
}

func TestOwnersAreInAnOrderThatDoesNotChange(t *testing.T) {
	a, b := &v1alpha1.RPCPool{}, &v1alpha1.RPCPool{}
	a.UID, b.UID = "a", "b"
	for _, owners := range [][]*v1alpha1.RPCPool{{a, b}, {b, a}} {
		got := TrackerService("n", "t", owners).OwnerReferences
		if got[0].UID != "a" || got[1].UID != "b" || got[0].Controller != nil {
			t.Errorf("%+v", got)
		}
	}
}

func TestTheBudgetHasNoneToSpareOfThePodsThatThereAre(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	for name, c := range map[string]struct {
		wanted, present *int32
		want            int32
	}{
		"nothing is said":        {nil, nil, 1},
		"nobody has looked yet":  {number(4), nil, 4},
		"the pool grows":         {number(4), number(1), 4},
		"it shrinks":             {number(1), number(4), 4},
		"the last finish":        {number(0), number(2), 2},
		"there is none, nor any": {number(0), number(0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			pool := example(t, "least")
			pool.Spec.Replicas, pool.Status.Replicas = c.wanted, c.present
			budget := DisruptionBudget(pool).Spec
			if budget.MinAvailable.IntVal != c.want || budget.MaxUnavailable != nil {
				t.Errorf("available: %v, or unavailable: %v; want %d available", budget.MinAvailable, budget.MaxUnavailable, c.want)
			}
		})
	}
}

// TestPoolsOfOneTrackerEachHaveTheirPort: all of them lead to the one listener.
func TestPoolsOfOneTrackerEachHaveTheirPort(t *testing.T) {
	var owners []*v1alpha1.RPCPool
	for _, port := range []int32{9999, 0, 9190, 9999} { // 0: 9190
		pool := &v1alpha1.RPCPool{}
		pool.Spec.Tracker.Port = port
		owners = append(owners, pool)
	}
	service, slice := TrackerService("n", "t", owners), TrackerEndpoints("n", "t", "192.0.2.1", 20000, owners)
	var ports []int32
	for i, p := range service.Spec.Ports {
		ports = append(ports, p.Port)
		if e := slice.Ports[i]; *e.Name != p.Name || *e.Port != 20000 {
			t.Errorf("port %d is %q, its endpoint %q of port %d", p.Port, p.Name, *e.Name, *e.Port)
		}
	}
	if !slices.Equal(ports, []int32{9190, 9999}) || len(slice.Ports) != len(ports) {
		t.Errorf("service %v, endpoints %v", ports, slice.Ports)
	}
}

func TestNamesOfPodsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.StringMatching(`[a-z]([-a-z0-9]{0,10}[a-z0-9])?`).Draw(t, "pool")
		n := rapid.IntRange(0, 99999).Draw(t, "ordinal")
		if got, ok := Ordinal(pool, PodName(pool, n)); !ok || got != n {
			t.Fatalf("%d, %t", got, ok)
		}
		other := rapid.StringMatching(`[-a-z0-9]{1,12}`).Draw(t, "name")
		if n, ok := Ordinal(pool, other); ok && PodName(pool, n) != other {
			t.Fatalf("%q is taken for %s", other, PodName(pool, n))
		}
	})
}

func TestDurationsAreRoundedUpToSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, time.Millisecond: 1, time.Second: 1, 1001 * time.Millisecond: 2} {
		if got := seconds(d); got != want {
			t.Errorf("%s: %d s, want %d s", d, got, want)
		}
	}
}
