//go:build linux

package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The programs under load, as `make build` names them.
const (
	CLI     = "rpcpool"
	Agent   = "rpcpool-agent"
	Sidecar = "rpcpool-sidecar"
	Worker  = "rpcpool-worker"
)

// packages of the programs.
func packages() map[string]string {
	return map[string]string{
		CLI:     "./cmd/rpcpool",
		Agent:   "./cmd/agent",
		Sidecar: "./cmd/sidecar",
		Worker:  "./cmd/worker",
	}
}

// FindPrograms returns the directory of the programs: dir if it has them, or
// else scratch, into which they are built from the module that we are run in.
func FindPrograms(ctx context.Context, dir, scratch string) (string, error) {
	missing, err := MissingPrograms(dir)
	if err != nil {
		return "", err
	}
	if len(missing) == 0 {
		return filepath.Abs(dir)
	}
	for program, pkg := range packages() {
		out := filepath.Join(scratch, program)
		if err := build(ctx, out, pkg); err != nil {
			return "", fmt.Errorf("%s has no %v, and they cannot be built: %w", dir, missing, err)
		}
	}
	return scratch, nil
}

// MissingPrograms lists the programs that a directory lacks.
func MissingPrograms(dir string) (missing []string, err error) {
	for program := range packages() {
		switch info, err := os.Stat(filepath.Join(dir, program)); {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, program)
		case err != nil:
			return nil, fmt.Errorf("look for programs: %w", err)
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			return nil, fmt.Errorf("%s is not a program", filepath.Join(dir, program))
		}
	}
	return missing, nil
}

func build(ctx context.Context, out, pkg string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module (run this inside of it): %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = string(bytes.TrimSpace(root))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}
