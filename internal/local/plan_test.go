package local

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"rpcpool.dev/internal/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pool is a document with the given name and fields of spec.
func pool(name, spec string) string {
	return "---\napiVersion: rpcpool.dev/v1alpha1\nkind: RPCPool\nmetadata: {" + name + "}\nspec: {" + spec + "}\n"
}

// newReader compiles the schema once for all tests.
var newReader = sync.OnceValues(manifest.NewReader)

// plan reads documents and plans them. Programs are found in /bin, but for
// "nowhere".
func plan(t *testing.T, documents ...string) (Plan, error) {
	t.Helper()
	reader, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	pools, err := reader.Read("p.yaml", []byte(strings.Join(documents, "")))
	if err != nil {
		t.Fatal(err)
	}
	return NewPlan(pools, func(program string) (string, error) {
		if program == "nowhere" {
			return "", errors.New("not found")
		}
		return "/bin/" + program, nil
	})
}

// addresses lists what listens where, in the order of the plan.
func addresses(p Plan) []string {
	var out []string
	for _, tracker := range p.Trackers {
		out = append(out, "tracker "+tracker.Name+" "+tracker.Address+" "+strings.Join(tracker.Pools, "+"))
	}
	for _, s := range p.Servers {
		out = append(out, s.Name+" "+s.Key+" "+s.Address+" "+s.Tracker)
	}
	return out
}

func TestPlanAddresses(t *testing.T) {
	const w = "server: {command: [w]}"
	cases := map[string]struct {
		documents []string
		want      []string
	}{
		"servers take the ports that follow": {
			[]string{pool("name: a", "replicas: 3, key: k, "+w)},
			[]string{
				"tracker rpcpool-tracker 127.0.0.1:9190 a",
				"a-0 k 127.0.0.1:9090 127.0.0.1:9190", "a-1 k 127.0.0.1:9091 127.0.0.1:9190", "a-2 k 127.0.0.1:9092 127.0.0.1:9190",
			},
		},
		"a pool of nothing has a tracker": {
			[]string{pool("name: a", "replicas: 0, "+w)}, []string{"tracker rpcpool-tracker 127.0.0.1:9190 a"},
		},
		"pools share a tracker, and the second goes on behind the first": {
			[]string{pool("name: a", "replicas: 2, "+w), pool("name: b", "replicas: 2, "+w)},
			[]string{
				"tracker rpcpool-tracker 127.0.0.1:9190 a+b",
				"a-0 a 127.0.0.1:9090 127.0.0.1:9190", "a-1 a 127.0.0.1:9091 127.0.0.1:9190",
				"b-0 b 127.0.0.1:9092 127.0.0.1:9190", "b-1 b 127.0.0.1:9093 127.0.0.1:9190",
			},
		},
		"servers go around a tracker, even of a later pool": {
			[]string{
				pool("name: a", "replicas: 3, server: {command: [w], port: 9189}"),
				pool("name: b", "tracker: {name: t, port: 9191}, "+w),
			},
			[]string{
				"tracker rpcpool-tracker 127.0.0.1:9190 a", "tracker t 127.0.0.1:9191 b",
				"a-0 a 127.0.0.1:9189 127.0.0.1:9190", "a-1 a 127.0.0.1:9192 127.0.0.1:9190", "a-2 a 127.0.0.1:9193 127.0.0.1:9190",
				"b-0 b 127.0.0.1:9090 127.0.0.1:9191",
			},
		},
		"one tracker name in two namespaces is two trackers": {
			[]string{pool("name: a", w), pool("name: a, namespace: other", "tracker: {port: 9290}, "+w)},
			[]string{
				"tracker rpcpool-tracker 127.0.0.1:9190 a", "tracker rpcpool-tracker 127.0.0.1:9290 a",
				"a-0 a 127.0.0.1:9090 127.0.0.1:9190", "a-0 a 127.0.0.1:9091 127.0.0.1:9290",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := plan(t, tc.documents...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, addresses(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	const w = "server: {command: [w]}"
	cases := map[string]struct {
		documents []string
		want      []string
	}{
		"RDMA that is required": {
			[]string{pool("name: a", w+", rdma: {mode: Required, resourceName: a/b}")},
			[]string{`p.yaml: document 1: spec.rdma.mode: Invalid value: "Required": needs a cluster node with RDMA`},
		},
		"a worker that is not here": {
			[]string{pool("name: a", "server: {command: [nowhere]}")},
			[]string{`p.yaml: document 1: spec.server.command: Invalid value: "nowhere": not found`},
		},
		"a template's worker that is not here": {
			[]string{pool("name: a", "template: {spec: {containers: [{name: x, command: [nowhere]}]}}")},
			[]string{`p.yaml: document 1: spec.template.spec.containers: Invalid value: "nowhere": not found`},
		},
		"more servers than ports": {
			[]string{pool("name: a", "replicas: 3, server: {command: [w], port: 65534}")},
			[]string{"p.yaml: document 1: spec.server.port: Invalid value: 65534: 3 servers do not fit between it and 65535"},
		},
		"two trackers with one port": {
			[]string{pool("name: a", w), pool("name: b", w+", tracker: {name: t}")},
			[]string{"p.yaml: document 2: spec.tracker.port: Invalid value: 9190: the port is tracker default/rpcpool-tracker's"},
		},
		"one tracker with two ports, and a problem of the first document after it": {
			[]string{pool("name: a", "server: {command: [nowhere]}"), pool("name: b", w+", tracker: {port: 9191}")},
			[]string{
				`p.yaml: document 1: spec.server.command: Invalid value: "nowhere": not found`,
				"p.yaml: document 2: spec.tracker.port: Invalid value: 9191: tracker rpcpool-tracker is shared with pool a, which says 127.0.0.1:9190",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := plan(t, tc.documents...)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(tc.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanSettingsAndNotes(t *testing.T) {
	got, err := plan(t, pool("name: a", `
		server: {flavour: A, warmWorkers: 0, sessionTimeout: {default: 1s, max: 2s}, handshakeTimeout: 3s,
		  killGracePeriod: 0s, workDir: {sizeLimit: 1Ki}, quarantine: {failures: 7, window: 8s}},
		rdma: {resourceName: a/b},
		template: {spec: {containers: [
		  {name: log},
		  {name: device, command: [w], args: [-x], resources: {limits: {a/b: 1}},
		   env: [{name: A, value: "1"}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{
		Trackers: []Tracker{{Name: "rpcpool-tracker", Namespace: "default", Address: "127.0.0.1:9190", Pools: []string{"a"}}},
		Servers: []Server{{
			Name: "a-0", Namespace: "default", Key: "a", Address: "127.0.0.1:9090", Tracker: "127.0.0.1:9190",
			Command: []string{"/bin/w", "-x"},
			Settings: Settings{
				Protocol: "TVM", Isolation: "Fork", KillDump: "None", Flavour: "A", Env: []string{"A=1"}, WarmWorkers: 0, DefaultTimeout: time.Second, MaxTimeout: 2 * time.Second,
				HandshakeTimeout: 3 * time.Second, KillGrace: 0, WorkDirLimit: 1024, Failures: 7, Window: 8 * time.Second,
			},
		}},
		Notes: []string{
			"p.yaml: document 1: spec.rdma is off: it needs a cluster node with RDMA",
			"p.yaml: document 1: variables that the device container takes from other objects are not set: they need a cluster",
			"p.yaml: document 1: resources and volumes of the device container have no effect: they need a cluster; spec.server.limits does not",
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Tracker{}, Server{})); diff != "" {
		t.Error(diff)
	}
}

// TestPlanOfBoundedWorkers: isolation, heartbeat, budgets, dump and limits have
// effect on one machine, so that nothing is noted.
func TestPlanOfBoundedWorkers(t *testing.T) {
	cases := map[string]struct {
		server string
		want   Settings // but for what has nothing to do with it
	}{
		"nothing said": {"", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30}},
		"everything said": {
			`isolation: Watchdog, heartbeat: 5s, budgets: {upload: 10s, load: 20s, run: 1m}, killDump: Abort,
			 limits: {cpu: 1500m, memory: 2Gi, processes: 64, openFiles: 256}, workDir: {sizeLimit: 1Mi}`,
			Settings{
				Protocol: "TVM", Isolation: "Watchdog", Heartbeat: 5 * time.Second, KillDump: "Abort", WorkDirLimit: 1 << 20,
				Budgets: Budgets{Upload: 10 * time.Second, Load: 20 * time.Second, Run: time.Minute},
				Limits:  Limits{CPU: 1500, Memory: 2 << 30, Processes: 64, OpenFiles: 256},
			},
		},
		"some of it said": {
			`budgets: {run: 500ms}, killDump: Quit, limits: {memory: 1000}`,
			Settings{
				Protocol: "TVM", Isolation: "Fork", KillDump: "Quit", WorkDirLimit: 1 << 30,
				Budgets: Budgets{Run: 500 * time.Millisecond}, Limits: Limits{Memory: 1000},
			},
		},
		"native calls": {
			"protocol: RPC, calls: {workers: 3, concurrency: 4, maxTimeout: 5s, journalSize: 1Mi, blobMemory: 64Mi}",
			Settings{
				Protocol: "RPC", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30,
				Calls: Calls{Workers: 3, Concurrency: 4, MaxTimeout: 5 * time.Second, JournalSize: 1 << 20, BlobMemory: 64 << 20},
			},
		},
		"native calls by default": {"protocol: RPC", Settings{
			Protocol: "RPC", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Calls: Calls{Workers: 1, Concurrency: 1, JournalSize: 16 << 20, BlobMemory: 256 << 20},
		}},
		"empty groups":             {"budgets: {}, limits: {}", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30}},
		"cores as a number":        {"limits: {cpu: 2}", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Limits: Limits{CPU: 2000}}},
		"a fraction of a core":     {`limits: {cpu: "0.5"}`, Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Limits: Limits{CPU: 500}}},
		"less than a thousandth":   {"limits: {cpu: 1u}", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Limits: Limits{CPU: 1}}},
		"as many cores as can be":  {"limits: {cpu: 100k}", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Limits: Limits{CPU: 100_000_000}}},
		"as much memory as can be": {"limits: {memory: 100Ei}", Settings{Protocol: "TVM", Isolation: "Fork", KillDump: "None", WorkDirLimit: 1 << 30, Limits: Limits{Memory: 1<<63 - 1}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := plan(t, pool("name: a", "server: {command: [w], "+tc.server+"}"))
			if err != nil {
				t.Fatal(err)
			}
			others := cmpopts.IgnoreFields(Settings{}, "Flavour", "Env", "WarmWorkers", "DefaultTimeout", "MaxTimeout",
				"HandshakeTimeout", "KillGrace", "Failures", "Window")
			if diff := cmp.Diff(tc.want, got.Servers[0].Settings, others); diff != "" {
				t.Error(diff)
			}
			if len(got.Notes) > 0 {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}

// TestPlanOfABarePool: what a caller leaves out, which a reader never does,
// must not crash.
func TestPlanOfABarePool(t *testing.T) {
	_, err := NewPlan([]manifest.Pool{{Source: manifest.Source{File: "x", Document: 1}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "x: document 1: spec.template.spec.containers: Required value: no worker") {
		t.Errorf("got %v", err)
	}
}

func TestTable(t *testing.T) {
	p, err := plan(t, pool("name: a", "replicas: 2, server: {command: [w, -v]}"), pool("name: b", "server: {protocol: RPC, command: [w], calls: {workers: 2}}"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := p.WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	const want = `TRACKER          ADDRESS         POOLS
rpcpool-tracker  127.0.0.1:9190  a, b

SERVER  PROTOCOL  KEY  ADDRESS         TRACKER         WORKERS     WORKER
a-0     TVM       a    127.0.0.1:9090  127.0.0.1:9190  1 warm      /bin/w -v
a-1     TVM       a    127.0.0.1:9091  127.0.0.1:9190  1 warm      /bin/w -v
b-0     RPC       b    127.0.0.1:9092  127.0.0.1:9190  2, 1 spare  /bin/w
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	if err := p.WriteTable(brokenPipe{}); err == nil {
		t.Error("a table that could not be written was reported as written")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
