package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount makes the machine's view of the file system. Everything is in its mount
// namespace and is gone with it; the host's directories are never written to, but for the
// machine's own.
func (m *machine) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	steps := []func() error{
		func() error { return tmpfs("/run") },
		func() error { return tmpfs("/var/lib") },
		func() error { return bind(m.path("log", "var"), "/var/log") },
	}
	if m.node > 0 {
		steps = append(steps,
			func() error { return bind(m.path("kubelet"), "/var/lib/kubelet") },
			func() error { return bind(m.path("containerd"), "/var/lib/containerd") },
			func() error { return copyInto(m.path("etc", "cni.conflist"), "/run/cni/net.d/10-rpcpool.conflist") },
			devices)
	}
	steps = append(steps, func() error { return unix.Mount("proc", "/proc", "proc", 0, "") })
	if m.node > 0 {
		steps = append(steps, sysctls)
	}
	steps = append(steps,
		// Volumes that are mounted in the node are to be seen in containers.
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") })
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("mounts of %s: %w", m.name, err)
		}
	}
	return nil
}

func tmpfs(dir string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755") }

// bind mounts a directory at a place that is made for it.
func bind(from, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s at %s: %w", from, at, err)
	}
	return nil
}

// bindFile mounts a file over another one.
func bindFile(from, at string) error {
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s at %s: %w", from, at, err)
	}
	return nil
}

func copyInto(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return copyFile(from, to, 0o644)
}

// devices gives the node a /dev of its own: device files that a device plugin makes
// are not seen outside.
func devices() error {
	const dev = "/run/dev"
	if err := os.Mkdir(dev, 0o755); err != nil {
		return err
	}
	if err := tmpfs(dev); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse"} {
		if _, err := os.Stat("/dev/" + name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
			return err
		}
		if err := bindFile("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"shm", "pts", "mqueue"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "ptmx": "pts/ptmx", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return errors.Join(
		unix.Mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", 0, "mode=1777"),
		unix.Mount("devpts", filepath.Join(dev, "pts"), "devpts", 0, "newinstance,ptmxmode=0666"),
		unix.Mount(dev, "/dev", "", unix.MS_BIND|unix.MS_REC, ""))
}

// sysctls shows the kubelet plain files in place of settings that it would change
// for the whole machine. They hold what it wants to find.
func sysctls() error {
	const dir = "/run/sysctl"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bindFile(file, filepath.Join("/proc/sys", name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
