package charts

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Release and Namespace are what the tests install the chart as.
const (
	Release   = "rpcpool"
	Namespace = "rpcpool-system"
)

// Path returns the path of a file of the project, by its name below the root.
func Path(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", name)
}

// Values returns the chart's files of example values, by name.
func Values(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(Path("charts/rpcpool/ci/*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values in the chart's ci/: %v", err)
	}
	return files
}

// Template returns the objects of the chart, tests included, in Helm's order.
// The arguments are Helm's: --values FILE, --set KEY=VALUE. The custom resource
// definition, which is large, is only there if --set crds.enabled=true says so.
func Template(t testing.TB, args ...string) []unstructured.Unstructured {
	t.Helper()
	return TemplateAs(t, Release, Namespace, args...)
}

// TemplateAs is [Template] for another release in another namespace.
func TemplateAs(t testing.TB, release, namespace string, args ...string) []unstructured.Unstructured {
	t.Helper()
	args = append([]string{"template", release, Path("charts/rpcpool"), "--namespace", namespace, "--set", "crds.enabled=false"}, args...)
	out, err := Helm(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, out)
}

// Helm runs Helm and returns what it printed. The error has what it said.
func Helm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return execute(t, bare(t), tool(t, "helm"), args...)
}

// Build returns the objects of a directory of config/, in kustomize's order.
func Build(t testing.TB, dir string) []unstructured.Unstructured {
	t.Helper()
	out, err := execute(t, bare(t), tool(t, "kustomize"), "build", Path(filepath.Join("config", dir)))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, out)
}

// tool returns the path of helm or kustomize.
func tool(t testing.TB, name string) string {
	t.Helper()
	variable := strings.ToUpper(name)
	path := os.Getenv(variable)
	if path == "" {
		dir, err := built()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, name)
	}
	if _, err := os.Stat(path); err != nil { //nolint:gosec // the variable is for naming a path
		t.Fatalf("no %s to test with: run `make test`, or `make %s` once and then `go test`, or set %s (%v)", name, name, variable, err)
	}
	return path
}

// built is the directory that the Makefile builds the tools into: its name is
// the hash of the module that they come from.
func built() (string, error) {
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(Path("hack/tools/deploy/" + file))
		if err != nil {
			return "", fmt.Errorf("hash of hack/tools/deploy: %w", err)
		}
		hash.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	const digits = 16
	return filepath.Join(cache, "rpcpool", "deploy-"+hex.EncodeToString(hash.Sum(nil))[:digits]), nil
}

// patience bounds a program: far beyond what a loaded machine needs.
const patience = 5 * time.Minute

// bare is an environment without anything of the user's: neither a kubeconfig
// nor Helm's own configuration.
func bare(t testing.TB) []string {
	home := t.TempDir()
	return []string{"HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_DATA_HOME=" + home}
}

// execute runs a program in an environment, and returns its standard output.
// The error has all that it said.
func execute(t testing.TB, env []string, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = env
	cmd.WaitDelay = time.Second // whoever else holds its output does not hold us
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// parse reads documents; a key that is there twice is an error.
func parse(t testing.TB, text string) []unstructured.Unstructured {
	t.Helper()
	var objects []unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := yaml.UnmarshalStrict(document, &object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if len(object) > 0 { // else only comments
			objects = append(objects, unstructured.Unstructured{Object: object})
		}
	}
}
