package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// keepImages keeps images for nodes that boot.
func (c *cluster) keepImages(tars []string) error {
	for _, tar := range tars {
		if err := copyFile(tar, c.path("images", filepath.Base(tar)), 0o644); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}

// load keeps images, and imports them into the nodes that run.
func (c *cluster) load(ctx context.Context, tars []string) error {
	if len(tars) == 0 {
		return fmt.Errorf("load which images? %w", errUsage)
	}
	if err := c.read(); err != nil {
		return err
	}
	if err := c.keepImages(tars); err != nil {
		return err
	}
	nodes := c.machines()[1:]
	errs := make(chan error, len(nodes))
	var all sync.WaitGroup
	for _, m := range nodes {
		all.Go(func() {
			for _, tar := range tars {
				if err := m.load(ctx, tar); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func (m *machine) load(ctx context.Context, tar string) error {
	pid, running := m.pid()
	if !running {
		return nil // when it boots
	}
	// The node's own socket, seen from outside.
	address := filepath.Join("/proc", fmt.Sprint(pid), "root", socket)
	out, err := exec.CommandContext(ctx, m.program("ctr"), "--address", address, "--namespace", "k8s.io", "images", "import", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s on %s: %w: %s", tar, m.name, err, strings.TrimSpace(string(out)))
	}
	fmt.Fprintf(m.c.out, "%s has imported %s\n", m.name, filepath.Base(tar))
	return nil
}
