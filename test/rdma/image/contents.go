//go:build linux

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// OrderFile has the modules' files in the image, in the order to load them.
const OrderFile = "/modules/order"

// modules are those that a machine needs, beside what they need themselves.
var modules = []string{"virtio_pci", "virtio_net", "crc32_generic", "rdma_rxe", "ib_uverbs"}

// programs are those of the packages.
var programs = []string{"ibv_devinfo", "ibv_rc_pingpong", "ib_read_bw", "ib_read_lat"}

// build makes the image's files in dir, of unpacked packages.
func build(ctx context.Context, packages tree, dir string) error {
	kernel, err := packages.one("boot/vmlinuz-*")
	if err != nil {
		return err
	}
	if err := writeKernel(ctx, kernel, filepath.Join(dir, "vmlinux")); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "base.cpio"), func(out io.Writer) error {
		a := newArchive(out)
		for _, name := range []string{"dev", "proc", "sys", "tmp", "run"} {
			a.dir(name)
		}
		a.dir("lib")
		a.dir("usr")
		a.link("usr/lib", "../lib")
		if err := errors.Join(addModules(a, packages), addPrograms(a, packages)); err != nil {
			return err
		}
		return a.close()
	})
}

func addModules(a *archive, packages tree) error {
	dir, err := packages.one("lib/modules/*")
	if err != nil {
		return err
	}
	paths, err := findModules(dir)
	if err != nil {
		return err
	}
	order, err := loadOrder(modules, func(name string) ([]string, error) {
		if paths[name] == "" {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		return moduleNeeds(paths[name])
	})
	if err != nil {
		return err
	}
	var list []byte
	for _, name := range order {
		to := "modules/" + name + ".ko"
		if err := addFile(a, paths[name], to, 0o644); err != nil {
			return err
		}
		list = fmt.Appendf(list, "/%s\n", to)
	}
	a.file(OrderFile[1:], 0o644, list)
	return nil
}

// addPrograms adds the programs of the packages, the driver of soft-RoCE, and the
// libraries of both. Others, such as ours, have at least the libraries of libibverbs.
func addPrograms(a *archive, packages tree) error {
	driver, err := packages.one("usr/lib/x86_64-linux-gnu/libibverbs/librxe-*.so")
	if err != nil {
		return err
	}
	files := map[string]string{"lib/x86_64-linux-gnu/libibverbs/" + filepath.Base(driver): driver}
	loaders := []string{driver}
	for _, name := range programs {
		path := filepath.Join(string(packages), "usr/bin", name)
		files["bin/"+name] = path
		loaders = append(loaders, path)
	}
	libraries, err := packages.libraries(loaders)
	if err != nil {
		return err
	}
	for _, path := range libraries {
		files["lib/x86_64-linux-gnu/"+filepath.Base(path)] = path
	}
	const loader = "ld-linux-x86-64.so.2"
	if files["lib64/"+loader], err = packages.library(loader); err != nil {
		return err
	}
	files["etc/libibverbs.d/rxe.driver"] = filepath.Join(string(packages), "etc/libibverbs.d/rxe.driver")
	for _, to := range slices.Sorted(maps.Keys(files)) {
		if err := addFile(a, files[to], to, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func addFile(a *archive, from, to string, perm fs.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	a.file(to, perm, content)
	return nil
}
