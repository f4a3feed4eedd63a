package manifest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestGolden shows what a manifest means when it has been read: every default
// filled in, status gone.
func TestGolden(t *testing.T) {
	pools, err := newTestReader(t).Read("full.yaml", readTestFile(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, pool := range pools {
		body, err := yaml.Marshal(pool.RPCPool)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("# " + pool.Source.String() + "\n")
		got.Write(body)
		got.WriteString("---\n")
	}
	const golden = "testdata/full.golden.yaml"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readTestFile(t, golden)), got.String()); diff != "" {
		t.Errorf("differs from %s (write it anew with -update):\n%s", golden, diff)
	}
}

// TestSamplesAreGood reads every manifest in config/samples.
func TestSamplesAreGood(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples found: %v", err)
	}
	if _, err := Load(files, nil); err != nil {
		t.Error(err)
	}
}

func TestWorkerCommandAndDeviceKey(t *testing.T) {
	const head = "apiVersion: rpcpool.dev/v1alpha1\nkind: RPCPool\nmetadata: {name: board}\n"
	cases := map[string]struct {
		spec    string
		wantKey string
		want    []string
	}{
		"the command of the server goes first": {
			"spec: {key: k, server: {command: [a, b]}, template: {spec: {containers: [{name: x, command: [c]}]}}}", "k", []string{"a", "b"},
		},
		"else command and args of the only container": {
			"spec: {template: {spec: {containers: [{name: x, command: [c], args: [d, e]}]}}}", "board", []string{"c", "d", "e"},
		},
		"else of the one named device": {
			"spec: {template: {spec: {containers: [{name: x, command: [c]}, {name: device, command: [d]}]}}}", "board", []string{"d"},
		},
	}
	r := newTestReader(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pools, err := r.Read("x", []byte(head+tc.spec))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, pools[0].Spec.WorkerCommand()); diff != "" {
				t.Error(diff)
			}
			if got := pools[0].DeviceKey(); got != tc.wantKey {
				t.Errorf("key %q, want %q", got, tc.wantKey)
			}
		})
	}
}
