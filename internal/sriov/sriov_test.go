package sriov

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAConfigurationBecomesAnObject: what was read is what is written, with selectors as
// a list, and what was written reads the same.
func TestAConfigurationBecomesAnObject(t *testing.T) {
	text, err := os.ReadFile("testdata/many.json")
	if err != nil {
		t.Fatal(err)
	}
	config, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if errs := config.Check(); len(errs) > 0 {
		t.Error(errs)
	}
	object, err := config.ConfigMap("kube-system", "sriovdp-config")
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/many.golden.yaml"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	again, err := Read(got)
	if err != nil || !cmp.Equal(again, config) {
		t.Errorf("%v: %s", err, cmp.Diff(config, again))
	}
}

// one is a configuration of a resource with these fields and selectors.
func one(fields, selectors string) string {
	return `{"resourceList":[{"resourceName":"vf",` + fields + `"selectors":[{` + selectors + `}]}]}`
}

func TestWhatIsWrongWithAConfiguration(t *testing.T) {
	const at = "resourceList[0]."
	for what, tc := range map[string]struct {
		text string
		want []string // one for each problem
	}{
		"nothing":         {one("", `"vendors":["15b3"],"isRdma":true`), nil},
		"no resource":     {`{"resourceList":[]}`, []string{"resourceList: Required value: names no resource"}},
		"no name":         {`{"resourceList":[{"resourceName":"","selectors":[{"vendors":["15b3"]}]}]}`, []string{at + "resourceName: Required value"}},
		"a dot in a name": {`{"resourceList":[{"resourceName":"a.b","selectors":[{"vendors":["15b3"]}]}]}`, []string{at + `resourceName: Invalid value: "a.b": must consist of letters, digits, _ and -`}},
		"a name that the plugin takes, and no kubelet": {
			`{"resourceList":[{"resourceName":"vf_","selectors":[{"vendors":["15b3"]}]}]}`,
			[]string{at + `resourceName: Invalid value: "vf_": name part must consist of`},
		},
		"a prefix in capitals":    {one(`"resourcePrefix":"Intel.com",`, `"vendors":["15b3"]`), []string{at + `resourcePrefix: Invalid value: "Intel.com": a lowercase RFC 1123 subdomain`}},
		"somebody else's prefix":  {one(`"resourcePrefix":"x.kubernetes.io",`, `"vendors":["15b3"]`), []string{at + `resourcePrefix: Invalid value: "x.kubernetes.io": is Kubernetes' own`}},
		"a type that there isn't": {one(`"deviceType":"netdevice",`, `"vendors":["15b3"]`), []string{at + `deviceType: Unsupported value: "netdevice": supported values: "netDevice", "accelerator", "auxNetDevice"`}},
		"one name twice": {
			`{"resourceList":[{"resourceName":"vf","selectors":[{"vendors":["15b3"]}]},{"resourceName":"vf","selectors":[{"vendors":["8086"]}]}]}`,
			[]string{`resourceList[1].resourceName: Duplicate value: "vf"`},
		},
		"two resources of the same functions": {
			`{"resourceList":[{"resourceName":"a","selectors":[{"vendors":["15b3"]}]},{"resourceName":"b","deviceType":"netDevice","selectors":{"vendors":["15b3"]}}]}`,
			[]string{`resourceList[1].selectors: Invalid value: "b": has nothing left: a, which comes first, selects the same`},
		},
		"no selector":          {`{"resourceList":[{"resourceName":"vf"}]}`, []string{at + "selectors: Required value: without one it takes every device of the node"}},
		"an empty selector":    {one("", `"isRdma":true`), []string{at + "selectors[0]: Required value: without a list it takes every device of the node"}},
		"a vendor by its name": {one("", `"vendors":["mellanox"]`), []string{at + `selectors[0].vendors[0]: Invalid value: "mellanox": must be a PCI id: four hexadecimal digits, in lower case`}},
		"a vendor as lspci's -nn": {one("", `"vendors":["15B3"],"devices":["0x101e"]`), []string{
			at + `selectors[0].vendors[0]: Invalid value: "15B3": must be a PCI id`, at + `selectors[0].devices[0]: Invalid value: "0x101e": must be a PCI id`,
		}},
		"a value twice":             {one("", `"drivers":["mlx5_core","mlx5_core"]`), []string{at + `selectors[0].drivers[1]: Duplicate value: "mlx5_core"`}},
		"an empty value":            {one("", `"drivers":[""]`), []string{at + "selectors[0].drivers[0]: Required value"}},
		"an address without domain": {one("", `"pciAddresses":["86:00.2"]`), []string{at + `selectors[0].pciAddresses[0]: Invalid value: "86:00.2": must be a PCI address, such as 0000:86:00.2`}},
		"ranges that are none": {one("", `"pfNames":["a#","b#1-","c#3-1","d#1-2-3","e#x","#1","f#0-3,5"]`), []string{
			at + `selectors[0].pfNames[0]: Invalid value: "a#": must have numbers`, at + `selectors[0].pfNames[1]: Invalid value: "b#1-": must have numbers`,
			at + `selectors[0].pfNames[2]: Invalid value: "c#3-1": must have numbers`, at + `selectors[0].pfNames[3]: Invalid value: "d#1-2-3": must have numbers`,
			at + `selectors[0].pfNames[4]: Invalid value: "e#x": must have numbers`, at + `selectors[0].pfNames[5]: Invalid value: "#1": must be an interface's name`,
		}},
		"an expression, and none": {one("", `"pfNames":["^ens[0-9]+f0$","ens["]`), []string{at + `selectors[0].pfNames[1]: Invalid value: "ens[": must be an interface's name or a regular expression`}},
		"a root by its interface": {one("", `"rootDevices":["ens1f0#0-3","0000:86:00.0#0"]`), []string{at + `selectors[0].rootDevices[0]: Invalid value: "ens1f0#0-3": must be a PCI address`}},
		"a link by another name":  {one("", `"linkTypes":["ethernet"]`), []string{at + `selectors[0].linkTypes[0]: Invalid value: "ethernet": must be ether or infiniband`}},
		"partitions of Ethernet": {one("", `"linkTypes":["ether"],"pKeys":["8001"]`), []string{
			at + `selectors[0].pKeys[0]: Invalid value: "8001": must be a partition's key`, at + `selectors[0].pKeys: Invalid value: "8001": are InfiniBand's, which linkTypes leaves out`,
		}},
		"RDMA and vDPA":       {one("", `"vendors":["15b3"],"isRdma":true,"vdpaType":"virtio"`), []string{at + `selectors[0].vdpaType: Invalid value: "virtio": excludes isRdma`}},
		"a vDPA of no kind":   {one("", `"vendors":["15b3"],"vdpaType":"vfio"`), []string{at + `selectors[0].vdpaType: Unsupported value: "vfio": supported values: "vhost", "virtio"`}},
		"RDMA of a program":   {one("", `"drivers":["vfio-pci"],"isRdma":true`), []string{at + `selectors[0].drivers: Invalid value: "vfio-pci": give functions to programs`}},
		"an index of letters": {one("", `"acpiIndexes":["one"]`), []string{at + `selectors[0].acpiIndexes[0]: Invalid value: "one": must be a number`}},
		"RDMA of accelerators": {one(`"deviceType":"accelerator",`, `"vendors":["8086"],"isRdma":true,"needVhostNet":true`), []string{
			at + "selectors[0].isRdma: Forbidden: deviceType accelerator has no such selector", at + "selectors[0].needVhostNet: Forbidden: deviceType accelerator has no such selector",
		}},
		"addresses of auxiliary devices": {one(`"deviceType":"auxNetDevice",`, `"pciAddresses":["0000:86:00.2"]`), []string{at + "selectors[0].pciAddresses: Forbidden: deviceType auxNetDevice has no such selector"}},
		"subfunctions of functions":      {one("", `"auxTypes":["sf"]`), []string{at + "selectors[0].auxTypes: Forbidden: deviceType netDevice has no such selector"}},
	} {
		t.Run(what, func(t *testing.T) {
			config, err := Read([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			errs := config.Check()
			if len(errs) != len(tc.want) {
				t.Fatalf("%q, want %q", errs, tc.want)
			}
			for i, want := range tc.want {
				if !strings.HasPrefix(errs[i].Error(), want) {
					t.Errorf("%s\nwant %s", errs[i], want)
				}
			}
		})
	}
}

func TestWhatIsNoConfiguration(t *testing.T) {
	for what, tc := range map[string]struct{ text, want string }{
		"a list":                        {"[]", "not an object: "},
		"half of one":                   {"{", "neither JSON nor YAML: "},
		"a field twice":                 {"{resourceList: [], resourceList: []}", "neither JSON nor YAML: "},
		"a field that there isn't":      {`{"resourceLists":[]}`, `not a configuration of the device plugin: json: unknown field "resourceLists"`},
		"a selector that there isn't":   {one("", `"vendor":["15b3"]`), `not a configuration of the device plugin: json: unknown field "vendor"`},
		"a selector that stands alone":  {`{"resourceList":[{"resourceName":"vf","selectors":{"isRDMA":"yes"}}]}`, "not a configuration of the device plugin: json: cannot unmarshal string"},
		"something else":                {"{kind: Pod}", "a Pod: want a ConfigMap"},
		"an object of something else":   {"{kind: ConfigMap, data: {a: b}}", "a ConfigMap without config.json"},
		"an object with half of one":    {"{kind: ConfigMap, data: {config.json: '{'}}", "not a configuration of the device plugin: unexpected EOF"},
		"an object with more than that": {"{kind: ConfigMap, data: {config.json: '{} {}'}}", "not a configuration of the device plugin: something follows it"},
		"too much":                      {"{kind: ConfigMap, data: {config.json: '" + strings.Repeat(" ", MaxBytes+1) + "'}}", "1048577 bytes: want at most 1048576"},
	} {
		if _, err := Read([]byte(tc.text)); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", what, err, tc.want)
		}
	}
}

func TestWhatPoolsMiss(t *testing.T) {
	config, err := Read([]byte(`{"resourceList":[
		{"resourceName":"own","selectors":[{"vendors":["15b3"],"isRdma":true}]},
		{"resourcePrefix":"b.c","resourceName":"half","selectors":[{"vendors":["8086"],"isRdma":true},{"vendors":["1af4"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := config.Missing("intel.com", []Demand{{"a/one", "intel.com/own"}, {"a/two", "b.c/half"}, {"a/three", "own"}})
	want := []string{
		"pool a/two wants RDMA of b.c/half, which has a selector without isRdma",
		"pool a/three wants own, which is not in the configuration",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	config.Set(Resource{Prefix: "b.c", Name: "half", Selectors: Selectors{{Vendors: []string{"8086"}, IsRDMA: true}}})
	config.Set(Resource{Name: "third", Selectors: Selectors{{Vendors: []string{"8087"}}}})
	if got := config.Missing("intel.com", []Demand{{"a/two", "b.c/half"}}); got != nil || len(config.ResourceList) != 3 {
		t.Errorf("after its change: %q, %d resources", got, len(config.ResourceList))
	}
}

func FuzzRead(f *testing.F) {
	many, err := os.ReadFile("testdata/many.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(many)
	f.Add([]byte("{kind: ConfigMap, data: {config.json: '{}'}}"))
	f.Add([]byte(one("", `"pfNames":["a#0-3,5","b#","["],"rootDevices":["0000:86:00.0#99999"]`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := Read(text)
		if err != nil || len(config.Check()) > 0 {
			return
		}
		out, err := config.JSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse([]byte(out))
		if err != nil || len(again.Check()) > 0 || again.ResourceList[0].FullName() != config.ResourceList[0].FullName() {
			t.Fatalf("%q was good, and %s is not: %v", text, out, err)
		}
	})
}
