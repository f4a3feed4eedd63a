//go:build linux

package image

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Image is what all machines have in common.
type Image struct {
	Kernel  string // file, not compressed
	Headers string // directory: those of libibverbs, which our own programs are built with
	base    string
}

// File is what a machine has beside.
type File struct {
	Perm    fs.FileMode
	Content []byte
}

// source is this package: another one may make another image of the same packages.
//
//go:embed contents.go cpio.go image.go kernel.go libraries.go modules.go packages.go
var source embed.FS

// Get returns the image, which it makes below the directory cache unless it is there.
// Of two at once one waits for the other.
func Get(ctx context.Context, cache string, log func(format string, args ...any)) (Image, error) {
	packages := debian{log: log}
	names, versions, err := packages.packages(ctx)
	if err != nil {
		return Image{}, err
	}
	key, err := hash(source, versions)
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "rdma-"+key)
	made := Image{
		Kernel:  filepath.Join(dir, "vmlinux"),
		Headers: filepath.Join(dir, "include"),
		base:    filepath.Join(dir, "base.cpio"),
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return made, nil
	}
	return made, inOneStep(dir, func(scratch string) error {
		root := filepath.Join(scratch, "packages")
		if err := os.Mkdir(root, 0o755); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if err := packages.fetch(ctx, names, root); err != nil {
			return err
		}
		if err := build(ctx, tree(root), scratch); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(root, "usr/include"), filepath.Join(scratch, "include")); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		return os.RemoveAll(root)
	})
}

// hash names an image by what makes it.
func hash(source fs.FS, versions string) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(source, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(source, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash of the image's source: %w", err)
	}
	fmt.Fprint(sum, versions)
	const digits = 16
	return fmt.Sprintf("%x", sum.Sum(nil))[:digits], nil
}

// lock waits until no other process has the lock of that file.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// inOneStep makes a directory: either it is there, as a whole, or it is not.
func inOneStep(dir string, fill func(scratch string) error) error {
	scratch, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".")
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	err = fill(scratch)
	if err == nil {
		err = os.Rename(scratch, dir)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(scratch))
	}
	return nil
}

// WriteInitrd writes the root file system of a machine, with more files in it: path
// without the leading slash, and content.
func (i Image) WriteInitrd(path string, files map[string]File) error {
	base, err := os.Open(i.base)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer base.Close() //nolint:errcheck // only read
	return writeFile(path, func(out io.Writer) error {
		if _, err := io.Copy(out, base); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		a := newArchive(out)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			a.file(name, files[name].Perm, files[name].Content)
		}
		return a.close()
	})
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	out := bufio.NewWriter(file)
	if err := errors.Join(write(out), out.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
