//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"rpcpool.dev/test/rdma/image"
)

// built are the programs of this tree that machines have, by their paths in there.
var built = map[string]struct {
	verb string // of the go command
	args []string
	cgo  bool
}{
	"init": {verb: "build", args: []string{"rpcpool.dev/test/rdma/guest"}},
}

// programs builds them.
func programs(ctx context.Context, boot image.Image, scratch string) (map[string]image.File, error) {
	files := map[string]image.File{}
	for name, program := range built {
		path := filepath.Join(scratch, filepath.Base(name))
		args := append([]string{program.verb, "-ldflags", "-s -w", "-o", path}, program.args...)
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
