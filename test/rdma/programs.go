//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"rpcpool.dev/test/rdma/image"
)

// built are the programs of this tree that machines have, by their paths in there.
var built = map[string]struct {
	args []string // of the go command
	cgo  bool
}{
	"init":          {args: []string{"build", "rpcpool.dev/test/rdma/guest"}},
	"bin/calls":     {args: []string{"build", "-tags", "rdma grpcnotrace", "rpcpool.dev/test/rdma/calls"}, cgo: true},
	"bin/rpcpool":   {args: []string{"build", "-tags", "rdma grpcnotrace netgo osusergo", "rpcpool.dev/cmd/rpcpool"}, cgo: true},
	"bin/rdma.test": {args: []string{"test", "-c", "-vet=off", "-tags", "rdma", "rpcpool.dev/rpc/rdma"}, cgo: true},
}

// programs builds them.
func programs(ctx context.Context, boot image.Image, scratch string) (map[string]image.File, error) {
	files := map[string]image.File{}
	for name, program := range built {
		path := filepath.Join(scratch, filepath.Base(name))
		args := slices.Insert(slices.Clone(program.args), 1, "-ldflags", "-s -w", "-o", path)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if program.cgo {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CGO_CFLAGS=-O2 -g -I"+boot.Headers)
		}
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", strings.Join(program.args, " "), err, text)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		files[name] = image.File{Perm: 0o755, Content: content}
	}
	return files, nil
}
