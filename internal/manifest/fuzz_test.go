package manifest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// FuzzRead: no input panics; every problem is one line that names the file; a
// manifest that is accepted means the same when it is written out, defaults and
// all, and read again.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(string(readTestFile(f, file)))
	}
	for _, seed := range []string{
		"", "---", "a: &a [*a]", "a: [", "? {a: b}\n: c", "<<: {a: 1}", "1: 2", "\x00", "\xff\xfe",
		good, spec("template: {}"), spec("replicas: 9223372036854775808"), spec("replicas: 1e3"), server("killGracePeriod: 99999h99999h99999h99999h"),
		spec("rollout: {maxUnavailable: null}"), server("sessionTimeout: null"), spec("template: {spec: {containers: []}}"),
		server("workDir: {sizeLimit: 1e400}"), spec("template: {metadata: {creationTimestamp: x}}"), spec("key: &k a, rdma: *k"),
		server("limits: {cpu: 1u, memory: 1e400}, budgets: {}, heartbeat: 100ms"), server("limits: {cpu: 99999999999999999999}, budgets: {run: null}"),
	} {
		f.Add(seed)
	}
	r := newTestReader(f)
	f.Fuzz(func(t *testing.T, in string) {
		pools, err := r.Read("fuzz", []byte(in))
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "fuzz: ") {
					t.Errorf("a line that does not name the file: %q", line)
				}
			}
			return
		}
		for _, pool := range pools {
			if template := pool.Spec.Template; template != nil && len(template.Spec.Containers) == 0 {
				// Go cannot write a template without a pod: it writes "containers: null".
				pool.Spec.Template = nil
			}
			body, err := yaml.Marshal(pool.RPCPool)
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.Read("fuzz", body)
			if err != nil {
				t.Fatalf("what was accepted is refused when written out:\n%s\n%v", body, err)
			}
			if diff := cmp.Diff(pool.RPCPool, again[0].RPCPool); diff != "" {
				t.Fatalf("means something else when read again:\n%s", diff)
			}
		}
	})
}
