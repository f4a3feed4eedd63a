package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// runArgs runs the program and returns what it says.
func runArgs(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(context.Background(), args, &out, &err)
	return status, out.String(), err.String()
}

func TestWrongUsageIsOneLineThatNamesTheFlag(t *testing.T) {
	good := []string{"--sidecar-image", "rpcpool:v1", "--tracker-host", "192.0.2.1"}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no image":                       {[]string{"--tracker-host", "192.0.2.1"}, "--sidecar-image"},
		"a name for a tracker's host":    {append(good, "--tracker-host", "me"), "--tracker-host"},
		"no tracker host":                {[]string{"--sidecar-image", "x", "--tracker-host="}, "--tracker-host"},
		"ports the wrong way round":      {append(good, "--tracker-ports", "2-1"), "-tracker-ports"},
		"a pull policy that is none":     {append(good, "--sidecar-image-pull-policy", "Often"), "--sidecar-image-pull-policy"},
		"resources that are none":        {append(good, "--sidecar-resources", "128Mi"), "-sidecar-resources"},
		"resources of no such name":      {append(good, "--sidecar-resources", `{"limit":{"memory":"1Gi"}}`), "-sidecar-resources"},
		"more requested than allowed":    {append(good, "--sidecar-resources", `{"requests":{"memory":"2Gi"},"limits":{"memory":"1Gi"}}`), "-sidecar-resources"},
		"claims for all sidecars":        {append(good, "--sidecar-resources", `{"claims":[{"name":"x"}]}`), "-sidecar-resources"},
		"metrics without a port":         {append(good, "--metrics-bind-address", "here"), "--metrics-bind-address"},
		"probes without a port":          {append(good, "--health-probe-bind-address", "8081"), "--health-probe-bind-address"},
		"a lease as short as renewal":    {append(good, "--leader-elect-lease-duration", "8s"), "--leader-elect-lease-duration"},
		"a lease of a second and a half": {append(good, "--leader-elect-lease-duration", "14500ms"), "--leader-elect-lease-duration"},
		"a lease that just outlasts it":  {append(good, "--leader-elect-renew-deadline", "14s"), "--leader-elect-renew-deadline"},
		"a retry longer than renewal":    {append(good, "--leader-elect-retry-period", "11s"), "--leader-elect-retry-period"},
		"a negative time to settle":      {append(good, "--tracker-settle", "-1s"), "--tracker-settle"},
		"a format of logs":               {append(good, "--log-format", "xml"), "--log-format"},
		"a level of logs":                {append(good, "--log-level", "loud"), "-log-level"},
		"an argument":                    {append(good, "pool.yaml"), "pool.yaml"},
		"a flag that is none":            {append(good, "--workers", "3"), "-workers"},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, stderr := runArgs(test.args...)
			if status != exitUsage || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("status %d, want %d; said %q, which is to name %s in one line", status, exitUsage, stderr, test.want)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	if status, _, text := runArgs("--help"); status != exitOK || !strings.Contains(text, "Example:") || !strings.Contains(text, "-tracker-settle") {
		t.Errorf("--help: status %d, %s", status, text)
	}
	if status, text, _ := runArgs("--version"); status != exitOK || strings.TrimSpace(text) == "" {
		t.Errorf("--version: status %d, %q", status, text)
	}
}

func TestNamespacesAreAList(t *testing.T) {
	c, err := parse([]string{"--sidecar-image=x", "--tracker-host=2001:db8::1", "--watch-namespaces", " a, b,,"}, nil)
	if err != nil || len(c.watchNamespaces) != 2 || c.watchNamespaces[1] != "b" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestResourcesOfSidecars(t *testing.T) {
	c, err := parse([]string{"--sidecar-image=x", "--tracker-host=192.0.2.1", `--sidecar-resources={"requests":{"cpu":"50m"},"limits":{"memory":"256Mi"}}`}, nil)
	if err != nil || c.resources.Requests.Cpu().MilliValue() != 50 || c.resources.Limits.Memory().Value() != 256<<20 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAClusterThatIsNotThereIsToldInOneLine(t *testing.T) {
	status, _, stderr := runArgs("--sidecar-image=x", "--tracker-host=192.0.2.1", "--kubeconfig", t.TempDir()+"/none")
	if status != exitFailed || !strings.Contains(stderr, "kubeconfig") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("status %d, %q", status, stderr)
	}
}
