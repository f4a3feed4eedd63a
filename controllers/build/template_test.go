package build

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"math"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rpcpool.dev/api/v1alpha1"
)

func TestLabelsAndAnnotationsOfTheTemplateWinOverOursOfOtherDomains(t *testing.T) {
	pod := podOf(t, example(t, "host"))
	for name, want := range map[string]string{
		"app.kubernetes.io/name": "bridge", "app.kubernetes.io/part-of": "lab", // the template's
		"app.kubernetes.io/managed-by": "rpcpool", v1alpha1.LabelPool: "phone", v1alpha1.LabelEvictable: "false",
	} {
		if got := pod.Labels[name]; got != want {
			t.Errorf("label %s is %q, want %q", name, got, want)
		}
	}
	if got := pod.Annotations[defaultContainer]; got != "adb" {
		t.Errorf("kubectl means container %s, the template adb", got)
	}
}

func TestNetworksAreAddedInTheTemplatesNotation(t *testing.T) {
	more := []string{"rdma-net", "storage/fast"}
	const ours = `{"name":"rdma-net"},{"name":"fast","namespace":"storage"}`
	for present, want := range map[string]string{
		"": "rdma-net,storage/fast", "mgmt": "mgmt,rdma-net,storage/fast", " a, b/c@eth1 ": "a, b/c@eth1,rdma-net,storage/fast",
		"[]": "[" + ours + "]", ` [{"name": "mgmt", "bandwidth": 9007199254740991}]`: `[{"bandwidth":9007199254740991,"name":"mgmt"},` + ours + "]",
	} {
		if got, err := addNetworks(present, more); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", present, got, err, want)
		}
	}
	pool := example(t, "host")
	pool.Spec.Template.Annotations[networksAnnotation] = "[mgmt]"
	if _, err := Pod(pool, settings, 0); err == nil || !strings.Contains(err.Error(), networksAnnotation) {
		t.Errorf("neither notation: got %v, want an error that names the annotation", err)
	}
	pool.Spec.RDMA.Networks = nil
	if got := podOf(t, pool).Annotations[networksAnnotation]; got != "[mgmt]" {
		t.Errorf("nothing to add made %q of it", got)
	}
}

func TestTheTrackerIsFoundFromTheNodesNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		host        bool
		given, want corev1.DNSPolicy
	}{
		"on the pods' network, Kubernetes' default does": {false, "", ""},
		"on the node's, it does not":                     {true, "", corev1.DNSClusterFirstWithHostNet},
		"what the template says stays":                   {true, corev1.DNSNone, corev1.DNSNone},
	} {
		t.Run(name, func(t *testing.T) {
			pool := example(t, "host")
			pool.Spec.Template.Spec.HostNetwork, pool.Spec.Template.Spec.DNSPolicy = c.host, c.given
			if got := podOf(t, pool).Spec.DNSPolicy; got != c.want {
				t.Errorf("dnsPolicy %q, want %q", got, c.want)
			}
		})
	}
}

// agentFlags are the flags of an agent's command line, cut at the first "--" as
// the agent does, and the command behind it.
func agentFlags(t *testing.T, args []string) (flags map[string]string, command []string) {
	t.Helper()
	if i := slices.Index(args, "--"); i >= 0 {
		args, command = args[:i], args[i+1:]
		if len(command) == 0 {
			t.Error("no command after --, which is wrong usage")
		}
	}
	set := flag.NewFlagSet("rpcpool-agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Duration("drain-timeout", 0, "")
	for _, name := range []string{"socket", "work-root", "core-dir", "log-format"} {
		set.String(name, "", "")
	}
	if err := set.Parse(args); err != nil || set.NArg() > 0 {
		t.Fatalf("the agent is started wrongly: %v, arguments %q", err, set.Args())
	}
	flags = map[string]string{}
	set.Visit(func(f *flag.Flag) { flags[f.Name] = f.Value.String() })
	return flags, command
}

func TestTheAgentIsStartedForWhatTheManifestSays(t *testing.T) {
	base := map[string]string{"socket": socket, "work-root": workDir, "log-format": "json"}
	for name, c := range map[string]struct {
		more    map[string]string
		command []string
	}{
		"least": {map[string]string{"drain-timeout": "10m0s"}, []string{imageBin + "/" + workerProgram}},
		"most":  {map[string]string{"drain-timeout": "30s", "core-dir": coreDir}, []string{"python3", "/opt/other.py", "fast"}},
		"rdma":  {map[string]string{"drain-timeout": "10m0s"}, []string{"/opt/worker"}},
		"host":  {map[string]string{"drain-timeout": "0s"}, nil}, // args without a command are an entrypoint's, which does not run
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(t, example(t, name))
			device := deviceOf(&pod.Spec)
			line := started(device)
			flags, command := agentFlags(t, line[1:])
			for k, v := range base {
				c.more[k] = v
			}
			if d := cmp.Diff(c.more, flags); d != "" {
				t.Errorf("flags (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.command, command); d != "" {
				t.Errorf("worker (-want +got):\n%s", d)
			}
			install := container(t, pod, agentName)
			if want := []string{imageBin + "/" + agentName, "install", path.Dir(line[0]), workerProgram}; !slices.Equal(install.Command, want) {
				t.Errorf("init container runs %q, want %q", install.Command, want)
			}
		})
	}
}

// TestAllThatIsWrittenIsInAVolume: the roots of our containers cannot be written
// to, and that of the device container need not.
func TestAllThatIsWrittenIsInAVolume(t *testing.T) {
	pod := podOf(t, example(t, "most"))
	within := func(c *corev1.Container, file string) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return !m.ReadOnly && strings.HasPrefix(m.Name, "rpcpool-") && strings.HasPrefix(file, m.MountPath+"/")
		})
	}
	for name, files := range map[string][]string{
		agentName: {binDir}, sidecarName: {socket}, "device": {socket, workDir, coreDir},
	} {
		for _, file := range files {
			if !within(container(t, pod, name), file) {
				t.Errorf("%s has no volume of ours for %s", name, file)
			}
		}
	}
	if args := container(t, pod, sidecarName).Command; args[slices.Index(args, "--agent-socket")+1] != socket {
		t.Error("sidecar and agent do not meet")
	}
}

// TestAPodIsNotEvictedForWhatItsWorkersMayWrite: the kubelet evicts a pod whose
// volume is over its limit.
func TestAPodIsNotEvictedForWhatItsWorkersMayWrite(t *testing.T) {
	for name, c := range map[string]struct {
		directory resource.Quantity
		dump      v1alpha1.KillDump
		want      string
	}{
		"two work directories":           {resource.MustParse("1Gi"), v1alpha1.KillDumpNone, "2Gi"},
		"and the cores that are kept":    {resource.MustParse("1Gi"), v1alpha1.KillDumpAbort, "7Gi"},
		"in the manifest's own notation": {resource.MustParse("1500M"), v1alpha1.KillDumpQuit, "3G"},
		"as much as there can be":        {resource.MustParse("7Ei"), v1alpha1.KillDumpNone, "9223372036854775806"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := example(t, "least")
			pool.Spec.Server.WorkDir.SizeLimit, pool.Spec.Server.KillDump = &c.directory, c.dump
			volumes := podOf(t, pool).Spec.Volumes
			limit := volumes[len(volumes)-1].EmptyDir.SizeLimit
			if limit.String() != c.want {
				t.Errorf("the volume's limit is %s, want %s", limit, c.want)
			}
			if limit.Value() <= 0 || c.directory.Value() > math.MaxInt64/2 && limit.Value() < c.directory.Value() {
				t.Errorf("%s overflows", limit)
			}
		})
	}
}

// TestWithTheOperatorsResourcesAPodCanBeGuaranteed, or in a namespace whose quota
// asks for limits: all of our containers have what the settings say.
func TestWithTheOperatorsResourcesAPodCanBeGuaranteed(t *testing.T) {
	s := settings
	s.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}
	for _, name := range []string{"least", "rdma"} {
		pod, err := Pod(example(t, name), s, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range pod.Spec.InitContainers[:2] {
			for what, want := range s.Resources.Limits {
				if got := c.Resources.Limits[what]; !got.Equal(want) {
					t.Errorf("%s: %s of %s is %s, want %s", name, what, c.Name, &got, &want)
				}
			}
		}
	}
	if len(s.Resources.Limits) != 2 {
		t.Errorf("the settings were changed: %v", s.Resources)
	}
}

func TestDefaultsAreThoseOfTheDefinition(t *testing.T) {
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	pools, err := reader.Read("least", []byte("{apiVersion: rpcpool.dev/v1alpha1, kind: RPCPool, metadata: {name: a}, spec: {server: {command: [w]}, rdma: {resourceName: a.b/c}}}"))
	if err != nil {
		t.Fatal(err)
	}
	bare := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	bare.Spec.Server.Command = []string{"w"}
	bare.Spec.RDMA = &v1alpha1.RDMASpec{ResourceName: "a.b/c"}
	got, want := withDefaults(bare).Spec, pools[0].Spec
	// No object is made from these.
	want.Replicas, want.Rollout.MaxUnavailable, want.DisruptionBudget = nil, nil, ""
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-definition +ours:\n%s", d)
	}
}

// TestWhateverIsLeftOutNothingPanics: each optional part, there but empty.
func TestWhateverIsLeftOutNothingPanics(t *testing.T) {
	for name, spec := range map[string]v1alpha1.RPCPoolSpec{
		"everything":         {},
		"a template's spec":  {Template: &corev1.PodTemplateSpec{}},
		"budgets":            {Server: v1alpha1.ServerSpec{Budgets: &v1alpha1.Budgets{}}},
		"limits":             {Server: v1alpha1.ServerSpec{Limits: &v1alpha1.Limits{}}},
		"rdma":               {RDMA: &v1alpha1.RDMASpec{ResourceName: "a.b/c"}},
		"a claim":            {RDMA: &v1alpha1.RDMASpec{Claim: &v1alpha1.RDMAClaim{DeviceClassName: "c"}}},
		"the policy's peers": {NetworkPolicy: &v1alpha1.NetworkPolicySpec{}},
	} {
		t.Run(name, func(t *testing.T) {
			pool := &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: "tuning"}, Spec: spec}
			before := pool.DeepCopy()
			o := parsed(t, pool) // fails if the sidecar refuses its flags
			if o.Key != "bare" || o.Tracker != "rpcpool-tracker.tuning.svc:9190" || o.Quarantine.Failures != 5 || o.KillGrace != 2*time.Second {
				t.Errorf("%+v", o)
			}
			if DisruptionBudget(pool) == nil {
				t.Error("sessions are not protected")
			}
			if policy := NetworkPolicy(pool); policy != nil && policy.Spec.Ingress[0].Ports[0].Port.IntVal != 9090 {
				t.Errorf("%+v", policy.Spec)
			}
			if d := cmp.Diff(before, pool); d != "" {
				t.Errorf("the pool was changed:\n%s", d)
			}
		})
	}
}

// TestWhatIsBuiltSharesNoMemoryWithTheManifest, which is in a cache that all
// share: everything in an object may be overwritten.
func TestWhatIsBuiltSharesNoMemoryWithTheManifest(t *testing.T) {
	for _, name := range []string{"least", "most", "rdma", "claim", "host", "calls", "calls-rdma", "calls-claim"} {
		pool := example(t, name)
		build := func() string {
			text, err := json.Marshal([]any{podOf(t, pool), NetworkPolicy(pool), DisruptionBudget(pool), ClaimTemplate(pool)})
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		was := build()
		scribble(reflect.ValueOf(podOf(t, pool)))
		if policy := NetworkPolicy(pool); policy != nil {
			scribble(reflect.ValueOf(policy))
		}
		if is := build(); is != was {
			t.Errorf("%s: overwritten objects show in those that are built next:\n%s", name, cmp.Diff(was, is))
		}
	}
}

// scribble overwrites every string, number and flag that can be reached.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			scribble(v.Elem())
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() {
				scribble(f)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	case reflect.Map:
		v.Clear()
	case reflect.String:
		v.SetString("scribbled")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	}
}

func TestTheSameManifestGivesTheSameBytes(t *testing.T) {
	for _, name := range []string{"least", "most", "rdma", "claim", "host", "calls", "calls-rdma", "calls-claim"} {
		a, errA := json.Marshal(podOf(t, example(t, name)))
		b, errB := json.Marshal(podOf(t, example(t, name)))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %v, %v\n%s\n%s", name, errA, errB, a, b)
		}
	}
}

func TestWithoutPeersThePolicyLetsInTheNamespaceAndScrapers(t *testing.T) {
	pool := example(t, "host")
	rules := NetworkPolicy(pool).Spec.Ingress
	if want := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}; !cmp.Equal(rules[0].From, want) || rules[0].Ports[0].Port.IntVal != 9090 {
		t.Errorf("clients: %+v", rules[0])
	}
	if len(rules[1].From) > 0 || rules[1].Ports[0].Port.IntVal != MetricsPort {
		t.Errorf("metrics: %+v", rules[1])
	}
}

func TestAnIPv4AddressInIPv6NotationIsIPv4(t *testing.T) {
	slice := TrackerEndpoints("tuning", "t", "::ffff:192.0.2.1", 20000, nil)
	if slice.AddressType != "IPv4" || slice.Endpoints[0].Addresses[0] != "192.0.2.1" {
		t.Errorf("%+v", slice)
	}
}
