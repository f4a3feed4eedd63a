package build

import (
	"flag"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/local"
	"rpcpool.dev/internal/manifest"
	"rpcpool.dev/internal/protocol"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/sidecar/supervise"
)

// parsedCalls is what the sidecar of a pool of native calls makes of its command line.
func parsedCalls(t *testing.T, pool *v1alpha1.RPCPool) (calls.Options, supervise.Limits, bool) {
	t.Helper()
	command := started(container(t, podOf(t, pool), sidecarName))[1:]
	command[slices.Index(command, "--listen")+1] = "127.0.0.1:0"
	var f calls.Flags
	var l sidecar.LimitFlags
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	f.Register(set)
	l.Register(set)
	set.String("agent-socket", "", "")
	set.String("metrics", "", "")
	name := protocol.TVM
	set.Var(&name, "protocol", "")
	if err := set.Parse(command); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(pool.Spec.Server.Command, set.Args()); name != protocol.RPC || d != "" {
		t.Errorf("protocol %s, worker (-manifest +sidecar):\n%s", name, d)
	}
	o, err := f.Options()
	if err != nil {
		t.Fatal(err)
	}
	j, err := f.Join()
	want := calls.JoinOptions{
		Tracker: TrackerAddress(withDefaults(pool)), Service: pool.DeviceKey(), Name: podFields["metadata.name"] + "/" + podFields["metadata.uid"], Advertise: podFields["status.podIP"],
	}
	if j == nil || err != nil || !cmp.Equal(*j, want, cmpopts.IgnoreUnexported(calls.JoinOptions{}), cmpopts.IgnoreFields(calls.JoinOptions{}, "Client")) {
		t.Errorf("it joins as %+v, %v; want %+v", j, err, want)
	}
	t.Cleanup(func() { _ = o.Listeners[0].Close() })
	limits, dump, err := l.Limits()
	if err != nil {
		t.Fatal(err)
	}
	return o, limits, dump != 0
}

func TestTheSidecarUnderstandsAManifestOfCallsAsLocalDoes(t *testing.T) {
	for _, file := range []string{"testdata/calls.yaml", "../../config/samples/rpcpool-calls.yaml"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			pool := load(t, file)
			o, limits, dump := parsedCalls(t, pool)
			plan, err := local.NewPlan([]manifest.Pool{{RPCPool: *pool}}, func(p string) (string, error) { return p, nil })
			if err != nil {
				t.Fatal(err)
			}
			s := plan.Servers[0].Settings
			for what, pair := range map[string][2]any{
				"protocol":    {"RPC", s.Protocol},
				"workers":     {o.Workers, s.Calls.Workers},
				"concurrency": {o.Concurrency, s.Calls.Concurrency},
				"max timeout": {o.MaxTimeout, s.Calls.MaxTimeout},
				"journal":     {o.JournalSize, s.Calls.JournalSize},
				"blobs":       {o.Blobs.Limits.Memory, uint64(s.Calls.BlobMemory)},
				"one's blobs": {o.Blobs.Limits.PartyBytes, uint64(s.Calls.BlobMemory / 2)},
				"messages":    {o.MessageMemory, uint64(messageMemory)},
				"results":     {o.ResultMemory, uint64(resultMemory)},
				"grace":       {o.KillGrace, max(s.KillGrace, time.Nanosecond)},
				"drain":       {o.DrainTimeout, pool.Spec.Rollout.DrainTimeout.Duration},
				"dump":        {dump, s.KillDump != "None"},
				"limits": {limits, supervise.Limits{
					CPU: s.Limits.CPU, Memory: s.Limits.Memory, Processes: s.Limits.Processes, OpenFiles: s.Limits.OpenFiles,
					WorkDir: s.WorkDirLimit, File: s.WorkDirLimit,
				}},
			} {
				if d := cmp.Diff(pair[1], pair[0]); d != "" {
					t.Errorf("%s (-local +sidecar):\n%s", what, d)
				}
			}
		})
	}
}

// TestTheTokenIsTheSidecarsAlone: workers run what clients send.
func TestTheTokenIsTheSidecarsAlone(t *testing.T) {
	pool := example(t, "calls")
	pool.Spec.Server.Calls.TokenSecret = "clients"
	spec := podOf(t, pool).Spec
	has := func(c *corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == tokenVolume && m.ReadOnly && m.MountPath == "/etc/rpcpool/token"
		})
	}
	for i := range spec.Containers {
		if c := &spec.Containers[i]; has(c) {
			t.Errorf("%s has the token", c.Name)
		}
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		told := slices.Contains(c.Command, "/etc/rpcpool/token/token")
		if is := c.Name == sidecarName; has(c) != is || told != is {
			t.Errorf("%s: the token is there: %v, it is told where: %v", c.Name, has(c), told)
		}
	}
	for _, v := range spec.Volumes {
		if v.Name == tokenVolume && v.Secret.SecretName == "clients" {
			return
		}
	}
	t.Error("the Secret is no volume")
}

// TestThereIsRoomForTheJournal: the kubelet evicts a pod whose volume is over its limit.
func TestThereIsRoomForTheJournal(t *testing.T) {
	pool := example(t, "calls")
	for _, v := range podOf(t, pool).Spec.Volumes {
		if v.Name == journalVolume && v.EmptyDir.SizeLimit.Value() != (2*64+1)<<20 {
			t.Errorf("%s for a journal of 64 MiB that may be made anew", v.EmptyDir.SizeLimit)
		}
		if v.Name == workVolume && v.EmptyDir.SizeLimit.Value() != 10<<30 {
			t.Errorf("%s for five workers of 1 GiB each, and their successors", v.EmptyDir.SizeLimit)
		}
	}
}

func TestAPoolOfCallsWithoutDefaultsIsRenderedWithThem(t *testing.T) {
	pool := &v1alpha1.RPCPool{}
	pool.Name, pool.Namespace, pool.Spec.Server.Protocol = "bare", "tuning", v1alpha1.ProtocolRPC
	pool.Spec.Server.Command = []string{"rpcpool-calls-worker"}
	if o, _, _ := parsedCalls(t, pool); o.Workers != 1 || o.Concurrency != 1 || o.JournalSize != 16<<20 || o.MaxTimeout != 0 {
		t.Errorf("%+v", o)
	}
}
