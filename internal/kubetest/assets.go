package kubetest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// assetsVariable names the directory of the programs, as everywhere that
// controller-runtime's envtest is used.
const assetsVariable = "KUBEBUILDER_ASSETS"

// errNoAssets says what to do.
var errNoAssets = errors.New("there is no kube-apiserver to test against: run `make test`, " +
	"or `make kube` once and then `go test`, or set " + assetsVariable + " to a directory with etcd and kube-apiserver")

// Assets returns the directory with etcd, kube-apiserver and
// kube-controller-manager: that of KUBEBUILDER_ASSETS (where the last one may
// be missing), or what `make kube` has built.
func Assets() (string, error) {
	dir := os.Getenv(assetsVariable)
	if dir == "" {
		var err error
		if dir, err = built(); err != nil {
			return "", fmt.Errorf("%w (%w)", errNoAssets, err)
		}
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		//nolint:gosec // who runs the tests chooses the directory
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return "", fmt.Errorf("%w (%w)", errNoAssets, err)
		}
	}
	return dir, nil
}

// built returns the directory into which the Makefile builds hack/kube: its
// name is the hash of the sources.
func built() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(root, "hack", "kube", file))
		if err != nil {
			return "", fmt.Errorf("hash of hack/kube: %w", err)
		}
		hash.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	const digits = 16
	return filepath.Join(cache, "rpcpool", "kube-"+hex.EncodeToString(hash.Sum(nil))[:digits]), nil
}

// moduleRoot is the directory of this module's go.mod, above the directory that
// we run in: that of the package under test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module rpcpool.dev\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the module: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the module: no go.mod of rpcpool.dev above the working directory")
		}
		dir = parent
	}
}
