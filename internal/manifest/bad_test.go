package manifest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

const (
	typeMeta = "apiVersion: rpcpool.dev/v1alpha1\nkind: RPCPool\n"
	head     = typeMeta + "metadata: {name: a}\n"
	// good is the least that a pool can say.
	good = head + "spec: {server: {command: [w]}}\n"
)

// spec is a document whose spec has a worker and the given field.
func spec(field string) string {
	return head + "spec: {server: {command: [w]}, " + field + "}\n"
}

// server is a document whose spec.server has a worker and the given field.
func server(field string) string {
	return head + "spec: {server: {command: [w], " + field + "}}\n"
}

// TestBadManifests: whatever is wrong is named by field and rule, every problem
// on a line of its own. Each line is given without its head "bad.yaml: document 1: ".
func TestBadManifests(t *testing.T) {
	const (
		minutes = "must be a duration above 0, such as "
		more    = notChecked
	)
	long := strings.Repeat("k", 129)
	cases := map[string]struct {
		in   string
		want []string
	}{
		"a duplicate key":         {"a: 1\nb: 2\na: 3\n", []string{`invalid YAML: line 3: key "a" already set in map`}},
		"a nested duplicate key":  {head + "spec:\n  key: a\n  replicas: 1\n  key: b\n", []string{`invalid YAML: line 7: key "key" already set in map`}},
		"broken YAML":             {"a: [", []string{"invalid YAML: line 1: did not find expected node content"}},
		"a list":                  {"[1, 2]", []string{"must be an object with apiVersion, kind, metadata and spec"}},
		"a word":                  {"word", []string{"must be an object with apiVersion, kind, metadata and spec"}},
		"another kind":            {"apiVersion: v1\nkind: Pod", []string{`apiVersion: Invalid value: "v1": must be rpcpool.dev/v1alpha1`, `kind: Invalid value: "Pod": must be RPCPool`}},
		"no type at all":          {"spec: {}", []string{"apiVersion: Required value: must be rpcpool.dev/v1alpha1", "kind: Required value: must be RPCPool"}},
		"a later version":         {"apiVersion: rpcpool.dev/v1\nkind: RPCPool", []string{`apiVersion: Invalid value: "rpcpool.dev/v1": must be rpcpool.dev/v1alpha1`}},
		"no name":                 {typeMeta + "spec: {server: {command: [w]}}", []string{"metadata.name: Required value: name or generateName is required", more}},
		"a generated name":        {typeMeta + "metadata: {generateName: a-}\nspec: {server: {command: [w]}}", []string{"metadata.name: Required value: generateName needs a cluster", more}},
		"a name of a wrong shape": {typeMeta + "metadata: {name: A_b}\nspec: {server: {command: [w]}}", []string{`metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`}},
		"a long name":             {typeMeta + "metadata: {name: " + long[:59] + "}\nspec: {server: {command: [w]}}", []string{"metadata: Invalid value: name must be at most 58 characters: it begins the pods' names and is a label's value"}},
		"metadata of a wrong type": {
			typeMeta + "metadata: {name: a, labels: 3}\nspec: {server: {command: [w]}}",
			[]string{"metadata: cannot read number into Go struct field ObjectMeta.labels of type map[string]string"},
		},
		"unknown metadata":          {typeMeta + "metadata: {name: a, nmespace: b}\nspec: {server: {command: [w]}}", []string{"metadata.nmespace: unknown field"}},
		"no spec":                   {head, []string{"spec: Required value", more}},
		"a spec of a wrong type":    {head + "spec: 3", []string{"spec: Invalid value: 3: must be of type object", more}},
		"an unknown field":          {spec("replica: 3"), []string{"spec.replica: unknown field"}},
		"an unknown field deeper":   {server("sessionTimeout: {standard: 1s}"), []string{"spec.server.sessionTimeout.standard: unknown field"}},
		"an unknown field at root":  {good + "stauts: {}", []string{"stauts: unknown field"}},
		"an unknown template field": {spec("template: {spec: {containers: [{name: a, comand: [x]}]}}"), []string{"spec.template.spec.containers[0].comand: unknown field"}},
		"an empty key":              {spec("key: ''"), []string{`spec.key: Invalid value: "": must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)`, `spec.key: Invalid value: "": must not be empty`}},
		"a key with a space":        {spec("key: a b"), []string{`spec.key: Invalid value: "a b": must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)`}},
		"a key with a quote":        {spec(`key: 'a"b'`), []string{`spec.key: Invalid value: "a\"b": must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)`}},
		"a key with a newline":      {spec(`key: "a\n"`), []string{`spec.key: Invalid value: "a\n": must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)`}},
		"a long key":                {spec("key: " + long), []string{"spec.key: Too long: may not be more than 128 bytes", more}},
		"too few replicas":          {spec("replicas: -1"), []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		"too many replicas":         {spec("replicas: 10001"), []string{"spec.replicas: Invalid value: 10001: must be less than or equal to 10000"}},
		"replicas as text":          {spec("replicas: four"), []string{`spec.replicas: Invalid value: "four": must be of type integer`, more}},
		"a fraction of a replica":   {spec("replicas: 1.5"), []string{"spec.replicas: Invalid value: 1.5: must be of type integer", more}},
		"a tracker's wrong name":    {spec("tracker: {name: 9tracker}"), []string{`spec.tracker.name: Invalid value: "9tracker": must be the name of a Service: lower-case letters, digits and -, beginning with a letter`}},
		"a tracker's wrong port":    {spec("tracker: {port: 70000}"), []string{"spec.tracker.port: Invalid value: 70000: must be less than or equal to 65535"}},
		"a server's wrong port":     {server("port: 0"), []string{"spec.server.port: Invalid value: 0: must be greater than or equal to 1"}},
		"an unknown isolation":      {server("isolation: fork"), []string{`spec.server.isolation: Unsupported value: "fork": supported values: "Fork", "Watchdog"`, more}},
		"an unknown flavour":        {server("flavour: D"), []string{`spec.server.flavour: Unsupported value: "D": supported values: "Auto", "A", "B", "C"`, more}},
		"an empty command":          {head + "spec: {server: {command: []}}", []string{"spec.server.command: Invalid value: []: must not be empty"}},
		"no worker anywhere":        {head + "spec: {}", []string{"spec.server.command: Required value: is required where the template's device container has no command"}},
		"a template without command": {
			head + "spec: {template: {spec: {containers: [{name: a, image: x}]}}}",
			[]string{"spec.server.command: Required value: is required where the template's device container has no command"},
		},
		"two containers, no device":                    {spec("template: {spec: {containers: [{name: a}, {name: b}]}}"), []string{"spec.template.spec.containers: Invalid value: must have one container, or one named device"}},
		"too many warm workers":                        {server("warmWorkers: 17"), []string{"spec.server.warmWorkers: Invalid value: 17: must be less than or equal to 16"}},
		"a maximum below the default that nobody said": {server("sessionTimeout: {max: 2m}"), []string{"spec.server.sessionTimeout.max: Invalid value: must be at least sessionTimeout.default, which is 10m unless it is said"}},
		"a default above the maximum":                  {server("sessionTimeout: {default: 2h}"), []string{"spec.server.sessionTimeout.max: Invalid value: must be at least sessionTimeout.default, which is 10m unless it is said"}},
		"a default of nothing":                         {server("sessionTimeout: {default: 0s}"), []string{`spec.server.sessionTimeout.default: Invalid value: "0s": ` + minutes + "10m or 1h30m"}},
		"a maximum without a unit":                     {server("sessionTimeout: {max: '10'}"), []string{`spec.server.sessionTimeout.max: Invalid value: "10": ` + minutes + "1h or 90m"}},
		"a maximum as a number":                        {server("sessionTimeout: {max: 10}"), []string{`spec.server.sessionTimeout.max: Invalid value: 10: must be of type string`, more}},
		"a handshake timeout of nothing":               {server("handshakeTimeout: 0s"), []string{`spec.server.handshakeTimeout: Invalid value: "0s": ` + minutes + "5s or 500ms"}},
		"a negative grace period":                      {server("killGracePeriod: -2s"), []string{`spec.server.killGracePeriod: Invalid value: "-2s": must be a duration from 0 to 10m, such as 2s or 500ms`}},
		"a grace period of a lifetime":                 {server("killGracePeriod: 99999h99999h"), []string{`spec.server.killGracePeriod: Invalid value: "99999h99999h": must be a duration from 0 to 10m, such as 2s or 500ms`}},
		"a grace period in days":                       {server("killGracePeriod: 1d"), []string{`spec.server.killGracePeriod: Invalid value: "1d": must be a duration from 0 to 10m, such as 2s or 500ms`}},
		"a work directory without size":                {server("workDir: {sizeLimit: 0}"), []string{"spec.server.workDir.sizeLimit: Invalid value: 0: must be a quantity above 0, such as 512Mi or 1Gi"}},
		"a work directory of negative Gi":              {server("workDir: {sizeLimit: -1Gi}"), []string{`spec.server.workDir.sizeLimit: Invalid value: "-1Gi": must be a quantity above 0, such as 512Mi or 1Gi`}},
		"a work directory of a fraction":               {server("workDir: {sizeLimit: 1e30}"), []string{"spec.server.workDir.sizeLimit: Invalid value: 1e+30: must be of type integer or string", more}},
		"a work directory of nothing":                  {server("workDir: {sizeLimit: []}"), []string{"spec.server.workDir.sizeLimit: Invalid value: []: must be of type integer or string", more}},
		"a work directory of words":                    {server("workDir: {sizeLimit: large}"), []string{`spec.server.workDir.sizeLimit: Invalid value: "large": must be a quantity above 0, such as 512Mi or 1Gi`}},
		"replicas in quotes":                           {spec("replicas: '2'"), []string{`spec.replicas: Invalid value: "2": must be of type integer`, more}},
		"replicas beyond int32":                        {spec("replicas: 99999999999"), []string{"spec.replicas: Invalid value: 99999999999: must be less than or equal to 10000"}},
		"a command that is a text":                     {head + "spec: {server: {command: w -x}}", []string{`spec.server.command: Invalid value: "w -x": must be of type array`, more}},
		"a command of a number":                        {head + "spec: {server: {command: [w, 1]}}", []string{"spec.server.command[1]: Invalid value: 1: must be of type string", more}},
		"a label with dots":                            {spec("template: {metadata: {labels: {a.b/c: 3}}}"), []string{"spec.template.metadata.labels.a.b/c: Invalid value: 3: must be of type string", more}},
		"an image of a number":                         {spec("template: {spec: {containers: [{name: a}, {name: b, image: 3}]}}"), []string{"spec.template.spec.containers[1].image: Invalid value: 3: must be of type string", more}},
		"a long value in a wrong place":                {spec("replicas: " + long), []string{`spec.replicas: Invalid value: "` + long[:63] + "…: must be of type integer", more}},
		"a quarantine after nothing":                   {server("quarantine: {failures: 0}"), []string{"spec.server.quarantine.failures: Invalid value: 0: must be greater than or equal to 1"}},
		"a quarantine without window":                  {server("quarantine: {window: 0m}"), []string{`spec.server.quarantine.window: Invalid value: "0m": ` + minutes + "60s or 5m"}},
		"RDMA without a resource":                      {spec("rdma: {mode: Required}"), []string{"spec.rdma.resourceName: Required value: is required unless mode is Off or there is a claim"}},
		"RDMA from two sides":                          {spec("rdma: {resourceName: a.b/vf, claim: {templateName: t}}"), []string{"spec.rdma.claim: Forbidden: must not be there beside resourceName"}},
		"RDMA of an empty claim":                       {spec("rdma: {claim: {}}"), []string{"spec.rdma.claim: Invalid value: must have either templateName or deviceClassName"}},
		"RDMA with a bare resource name":               {spec("rdma: {resourceName: vf}"), []string{`spec.rdma.resourceName: Invalid value: "vf": must be an extended resource's name, such as openshift.io/rdma_vf`}},
		"RDMA with one network twice":                  {spec("rdma: {mode: 'Off', networks: [a, a]}"), []string{`spec.rdma.networks[1]: Duplicate value: "a"`}},
		"RDMA with a boolean for a mode":               {spec("rdma: {mode: off}"), []string{`spec.rdma.mode: Invalid value: false: must be of type string`, `spec.rdma.mode: Unsupported value: false: supported values: "Off", "Auto", "Required"`, more}},
		"a rollout that never moves":                   {spec("rollout: {maxUnavailable: 0}"), []string{"spec.rollout.maxUnavailable: Invalid value: 0: must be a number of at least 1, or a percentage from 1% to 100%"}},
		"a rollout of more than all":                   {spec("rollout: {maxUnavailable: 101%}"), []string{`spec.rollout.maxUnavailable: Invalid value: "101%": must be a number of at least 1, or a percentage from 1% to 100%`}},
		"a drain timeout that is negative":             {spec("rollout: {drainTimeout: -1m}"), []string{`spec.rollout.drainTimeout: Invalid value: "-1m": must be a duration from 0 to 168h, such as 10m or 1h30m`}},
		"a heartbeat of nothing":                       {server(`heartbeat: 0s`), []string{`spec.server.heartbeat: Invalid value: "0s": must be a duration of at least 100ms, such as 500ms or 5s`}},
		"a heartbeat in a hurry":                       {server(`heartbeat: 99ms`), []string{`spec.server.heartbeat: Invalid value: "99ms": must be a duration of at least 100ms, such as 500ms or 5s`}},
		"a heartbeat that is negative":                 {server(`heartbeat: -1s`), []string{`spec.server.heartbeat: Invalid value: "-1s": must be a duration of at least 100ms, such as 500ms or 5s`}},
		"a heartbeat as a number":                      {server(`heartbeat: 5`), []string{"spec.server.heartbeat: Invalid value: 5: must be of type string", more}},
		"a budget of nothing":                          {server(`budgets: {upload: 0s}`), []string{`spec.server.budgets.upload: Invalid value: "0s": ` + minutes + "30s or 1m"}},
		"a budget that is negative":                    {server(`budgets: {load: -1s}`), []string{`spec.server.budgets.load: Invalid value: "-1s": ` + minutes + "10s or 1m"}},
		"a budget without a unit":                      {server(`budgets: {run: '10'}`), []string{`spec.server.budgets.run: Invalid value: "10": ` + minutes + "30s or 5m"}},
		"a budget of no phase":                         {server(`budgets: {download: 1s}`), []string{"spec.server.budgets.download: unknown field"}},
		"an unknown dump":                              {server(`killDump: quit`), []string{`spec.server.killDump: Unsupported value: "quit": supported values: "None", "Quit", "Abort"`, more}},
		"no cores":                                     {server(`limits: {cpu: 0}`), []string{"spec.server.limits.cpu: Invalid value: 0: must be a quantity above 0 and at most 100k, such as 500m or 2"}},
		"negative cores":                               {server(`limits: {cpu: -500m}`), []string{`spec.server.limits.cpu: Invalid value: "-500m": must be a quantity above 0 and at most 100k, such as 500m or 2`}},
		"too many cores":                               {server(`limits: {cpu: 100001}`), []string{"spec.server.limits.cpu: Invalid value: 100001: must be a quantity above 0 and at most 100k, such as 500m or 2"}},
		"too many cores in words":                      {server(`limits: {cpu: 100001k}`), []string{`spec.server.limits.cpu: Invalid value: "100001k": must be a quantity above 0 and at most 100k, such as 500m or 2`}},
		"cores of words":                               {server(`limits: {cpu: two}`), []string{`spec.server.limits.cpu: Invalid value: "two": must be a quantity above 0 and at most 100k, such as 500m or 2`}},
		"a fraction of a core, bare":                   {server(`limits: {cpu: 0.5}`), []string{"spec.server.limits.cpu: Invalid value: 0.5: must be of type integer or string", more}},
		"no memory":                                    {server(`limits: {memory: 0}`), []string{"spec.server.limits.memory: Invalid value: 0: must be a quantity above 0, such as 512Mi or 4Gi"}},
		"negative memory":                              {server(`limits: {memory: -1Gi}`), []string{`spec.server.limits.memory: Invalid value: "-1Gi": must be a quantity above 0, such as 512Mi or 4Gi`}},
		"memory of words":                              {server(`limits: {memory: much}`), []string{`spec.server.limits.memory: Invalid value: "much": must be a quantity above 0, such as 512Mi or 4Gi`}},
		"too few processes":                            {server(`limits: {processes: 0}`), []string{"spec.server.limits.processes: Invalid value: 0: must be greater than or equal to 1"}},
		"too many processes":                           {server(`limits: {processes: 4194305}`), []string{"spec.server.limits.processes: Invalid value: 4194305: must be less than or equal to 4194304"}},
		"too few descriptors":                          {server(`limits: {openFiles: 7}`), []string{"spec.server.limits.openFiles: Invalid value: 7: must be greater than or equal to 8"}},
		"too many descriptors":                         {server(`limits: {openFiles: 1048577}`), []string{"spec.server.limits.openFiles: Invalid value: 1048577: must be less than or equal to 1048576"}},
		"a limit of nothing known":                     {server(`limits: {gpu: 1}`), []string{"spec.server.limits.gpu: unknown field"}},
		"many problems at once": {
			head + "spec: {key: a b, sped: 1, server: {command: [w], killGracePeriod: -1s, port: 0}}",
			[]string{
				`spec.key: Invalid value: "a b": must consist of letters, digits and . _ : $ [ ] - (no spaces, quotes or backslashes)`,
				"spec.server.killGracePeriod: Invalid value: \"-1s\": must be a duration from 0 to 10m, such as 2s or 500ms",
				"spec.server.port: Invalid value: 0: must be greater than or equal to 1",
				"spec.sped: unknown field",
			},
		},
	}
	r := newTestReader(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pools, err := r.Read("bad.yaml", []byte(tc.in))
			if err == nil || pools != nil {
				t.Fatalf("accepted: %+v", pools)
			}
			var want []string
			for _, line := range tc.want {
				want = append(want, "bad.yaml: document 1: "+line)
			}
			if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// TestImmutable: the rules about changes, which only a cluster can break.
func TestImmutable(t *testing.T) {
	object := func(fields string) map[string]any {
		obj, problems := decode(document{body: []byte("spec: {server: {command: [w]}, " + fields + "}")})
		if problems != nil {
			t.Fatal(problems)
		}
		obj["metadata"] = map[string]any{"name": "a"}
		return obj
	}
	const keyIsImmutable = "spec.key: Forbidden: is immutable: clients and the tracker know the servers by it"
	cases := map[string]struct{ before, after, want string }{
		"the same":                 {"key: a", "key: a", ""},
		"another number":           {"replicas: 1", "replicas: 2", ""},
		"another key":              {"key: a", "key: b", keyIsImmutable},
		"a key where none was":     {"", "key: b", keyIsImmutable},
		"no key where one was":     {"key: a", "", keyIsImmutable},
		"another tracker":          {"tracker: {name: a}", "tracker: {name: b}", "spec.tracker.name: Forbidden: is immutable: make a new pool to move its devices to another tracker"},
		"another port, same place": {"tracker: {name: a, port: 1}", "tracker: {name: a, port: 2}", "spec.tracker.port: Forbidden: is immutable: servers that are in a session would lose the tracker"},
	}
	r := newTestReader(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			errs, _ := r.rules.Validate(context.Background(), nil, r.structural,
				object(tc.after), object(tc.before), celconfig.RuntimeCELCostBudget)
			if got := strings.Join(messages(errs, nil), "\n"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDocumentsAreCountedAndLinesAreTheFiles(t *testing.T) {
	in := "# a comment only\n---\n" + good + "--- # the second\n\na: 1\na: 2\n---\n---\nkind: Pod\n"
	_, err := newTestReader(t).Read("many.yaml", []byte(in))
	want := []string{
		`many.yaml: document 2: invalid YAML: line 10: key "a" already set in map`,
		"many.yaml: document 3: apiVersion: Required value: must be rpcpool.dev/v1alpha1",
		`many.yaml: document 3: kind: Invalid value: "Pod": must be RPCPool`,
	}
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, bad := file("a.yaml", good), file("bad.yaml", "x: 1\nx: 2")
	empty, large := file("empty.yaml", "# nothing\n---\n"), file("large.yaml", strings.Repeat("#", MaxBytes+1))

	t.Run("files and standard input", func(t *testing.T) {
		other := strings.Replace(good, "name: a", "name: b", 1)
		pools, err := Load([]string{a, Stdin}, strings.NewReader(other))
		if err != nil {
			t.Fatal(err)
		}
		if len(pools) != 2 || pools[0].Name != "a" || pools[1].Name != "b" || pools[1].Namespace != "default" {
			t.Errorf("read %+v", pools)
		}
		if got := pools[1].Source.String(); got != "stdin: document 1" {
			t.Errorf("source %q", got)
		}
	})
	t.Run("one name in two files", func(t *testing.T) {
		_, err := Load([]string{a, Stdin}, strings.NewReader(good))
		want := `stdin: document 1: metadata.name: Duplicate value: "a": also in ` + a + ": document 1"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("a name may be used in two namespaces", func(t *testing.T) {
		other := strings.Replace(good, "name: a", "name: a, namespace: other", 1)
		if _, err := Load([]string{a, Stdin}, strings.NewReader(other)); err != nil {
			t.Error(err)
		}
	})
	t.Run("every file is reported", func(t *testing.T) {
		missing := filepath.Join(dir, "missing.yaml")
		_, err := Load([]string{missing, bad, empty, large, Stdin}, iotest.ErrReader(errors.New("torn")))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v does not wrap fs.ErrNotExist", err)
		}
		want := []string{
			"open " + missing + ": no such file or directory",
			bad + `: document 1: invalid YAML: line 2: key "x" already set in map`,
			empty + ": no manifest in it",
			large + ": larger than 3145728 bytes",
			"-: torn",
		}
		if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Error(diff)
		}
	})
}
