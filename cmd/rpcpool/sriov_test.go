package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rpcpool.dev/internal/sriov"
)

const rdmaSample = "../../config/samples/rpcpool-rdma.yaml"

// configured runs the command and reads what it prints.
func configured(t *testing.T, args ...string) *sriov.Config {
	t.Helper()
	status, stdout, stderr := execute(t, append([]string{"sriov-config"}, args...)...)
	if status != exitOK || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	config, err := sriov.Read([]byte(stdout))
	if err != nil || !strings.Contains(stdout, "sriovdp-config") {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	return config
}

// TestSRIOVConfigOfAPool: what is made for a pool is what the pool asks for, and it can
// be kept beside others.
func TestSRIOVConfigOfAPool(t *testing.T) {
	config := configured(t, "-f", rdmaSample, "--pf-name", "ens1f0#0-3,5", "--pf-name", "ens1f1", "--link-type", "ether", "--exclude-topology")
	r := config.ResourceList[0]
	if r.FullName() != "openshift.io/rdma_vf" || !r.Selectors[0].IsRDMA || len(r.Selectors[0].PFNames) != 2 || !r.ExcludeTopology {
		t.Errorf("%+v", r)
	}
	base := filepath.Join(t.TempDir(), "base.json")
	text, err := config.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	more := configured(t, "--base", base, "--resource", "example.com/dpdk", "--driver", "vfio-pci", "--rdma=false", "-o", "json")
	if len(more.ResourceList) != 2 || more.ResourceList[1].FullName() != "example.com/dpdk" || more.ResourceList[1].Selectors[0].IsRDMA {
		t.Errorf("%+v", more)
	}
	if same := configured(t, "-f", rdmaSample, "--base", base); len(same.ResourceList) != 1 {
		t.Errorf("%+v", same)
	}
}

func TestSRIOVConfigThatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pool := func(name, resource string) string {
		return "apiVersion: rpcpool.dev/v1alpha1\nkind: RPCPool\nmetadata: {name: " + name + ", namespace: lab}\nspec:\n  server: {command: [w]}\n" + resource
	}
	two := write("two.yaml", pool("a", "  rdma: {resourceName: x.y/a}\n")+"---\n"+pool("b", "  rdma: {resourceName: x.y/b}\n"))
	none := write("none.yaml", pool("a", ""))
	base := write("base.json", `{"resourceList":[{"resourceName":"other","selectors":[{"vendors":["15b3"]}]}]}`)
	for what, tc := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"nothing said":        {nil, exitUsage, "--resource: want one, or pools that want one (--filename)"},
		"no selector":         {[]string{"--resource", "a.b/c"}, exitUsage, "resourceList[0].selectors[0]: Required value: without a list it takes every device of the node"},
		"two resources":       {[]string{"-f", two, "--vendor", "15b3"}, exitUsage, "--resource: the pools want x.y/a and x.y/b: give one, and add the others with --base"},
		"one of two":          {[]string{"-f", two, "--vendor", "15b3", "--resource", "x.y/a"}, exitFailed, "pool lab/b wants x.y/b, which is not in the configuration"},
		"a pool without RDMA": {[]string{"-f", none, "--vendor", "15b3"}, exitUsage, "no pool asks for RDMA devices of the device plugin (spec.rdma.resourceName)"},
		"a pool that misses its": {
			[]string{"-f", rdmaSample, "--base", base}, exitFailed,
			"pool default/npu wants openshift.io/rdma_vf, which is not in the configuration",
		},
		"no RDMA for a pool": {
			[]string{"-f", rdmaSample, "--vendor", "15b3", "--rdma=false"}, exitFailed,
			"pool default/npu wants RDMA of openshift.io/rdma_vf, which has a selector without isRdma",
		},
		"subfunctions for a pool": {
			[]string{"-f", rdmaSample, "--device-type", "auxNetDevice", "--aux-type", "sf"}, exitFailed,
			"pool default/npu wants openshift.io/rdma_vf, whose devices are auxNetDevice: servers know their devices by PCI addresses, and subfunctions have none",
		},
		"standard input twice": {[]string{"-f", "-", "--base", "-"}, exitUsage, "--base and --filename: both are standard input"},
		"a base that is none":  {[]string{"--base", two, "--resource", "a.b/c"}, exitUsage, "--base: " + two + ": "},
		"no base":              {[]string{"--base", base + "x"}, exitUsage, "--base: open " + base + "x: no such file or directory"},
		"as a table":           {[]string{"-o", "table"}, exitUsage, `invalid argument "table" for "-o, --output" flag: want yaml or json`},
	} {
		t.Run(what, func(t *testing.T) {
			status, stdout, stderr := execute(t, append([]string{"sriov-config"}, tc.args...)...)
			if status != tc.status || stdout != "" || !strings.HasPrefix(stderr, "rpcpool: "+tc.want) {
				t.Errorf("status %d, stdout %q\n%swant %s", status, stdout, stderr, tc.want)
			}
		})
	}
}
