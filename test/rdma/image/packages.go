//go:build linux

package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernelPackage depends on the package of the newest kernel, whose name has the
// version of the kernel's interfaces in it.
const kernelPackage = "linux-image-amd64"

// guestPackages are the others: drivers, headers, programs, and what those load.
var guestPackages = []string{
	"libc6", "libibverbs1", "ibverbs-providers", "librdmacm1", "libibumad3", "libnl-3-200", "libnl-route-3-200",
	"libibverbs-dev", "ibverbs-utils", "perftest", "libpci3", "zlib1g", "libudev1", "libcap2",
}

// errNoPackages says what this needs.
var errNoPackages = errors.New("this needs the packages of Debian for amd64")

// debian asks apt.
type debian struct {
	log func(format string, args ...any)
}

// packages returns the names of all packages, and their file names and checksums as
// one text, which changes when one of them does. If the lists of packages are missing
// they are fetched.
func (d debian) packages(ctx context.Context) (names []string, versions string, err error) {
	names, versions, err = d.lookUp(ctx)
	if err != nil {
		if failure := d.update(ctx); failure != nil {
			return nil, "", fmt.Errorf("%w: %w (%w)", errNoPackages, err, failure)
		}
		if names, versions, err = d.lookUp(ctx); err != nil {
			return nil, "", fmt.Errorf("%w: %w", errNoPackages, err)
		}
	}
	return names, versions, nil
}

func (d debian) lookUp(ctx context.Context) ([]string, string, error) {
	text, err := run(exec.CommandContext(ctx, "apt-cache", "depends", kernelPackage))
	if err != nil {
		return nil, "", err
	}
	kernel, err := parseKernel(string(text))
	if err != nil {
		return nil, "", err
	}
	names := append([]string{kernel}, guestPackages...)
	text, err = run(aptGet(ctx, append([]string{"download", "--print-uris"}, names...)...))
	if err != nil {
		return nil, "", err
	}
	versions, err := parseVersions(string(text))
	return names, versions, err
}

// fetch downloads packages, and unpacks them into a directory. A package that is no
// longer where the lists say is looked for in new ones.
func (d debian) fetch(ctx context.Context, names []string, dir string) error {
	d.log("fetching %d packages of Debian, once", len(names))
	download := func() error {
		cmd := aptGet(ctx, append([]string{"download"}, names...)...)
		cmd.Dir = dir
		_, err := run(cmd)
		return err
	}
	if err := download(); err != nil {
		if failure := d.update(ctx); failure != nil {
			return fmt.Errorf("%w (%w)", err, failure)
		}
		if err := download(); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != len(names) {
		return fmt.Errorf("%d packages were fetched instead of %d: %q", len(files), len(names), files)
	}
	for _, file := range files {
		if _, err := run(exec.CommandContext(ctx, "dpkg-deb", "--extract", file, dir)); err != nil {
			return err
		}
	}
	return nil
}

func (d debian) update(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can fetch lists of packages: sudo apt-get update")
	}
	d.log("fetching lists of packages")
	_, err := run(aptGet(ctx, "update"))
	return err
}

// aptGet is apt-get, which says nothing but errors and does not change its user: that
// one could not write where we are.
func aptGet(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "APT::Sandbox::User=root"}, args...)...)
}

// parseKernel finds the kernel's package among what [kernelPackage] depends on.
func parseKernel(depends string) (string, error) {
	found := regexp.MustCompile(`(?m)^\s*Depends: (linux-image-\S+)$`).FindStringSubmatch(depends)
	if found == nil {
		return "", fmt.Errorf("package %s depends on no kernel: %.200q", kernelPackage, depends)
	}
	return found[1], nil
}

// parseVersions keeps file names and checksums of what apt would download: from where
// does not matter.
func parseVersions(uris string) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(uris) {
		words := strings.Fields(line) // 'URI' file size algorithm:checksum
		if len(words) != 4 {
			return "", fmt.Errorf("what apt would download: unknown line %.200q", line)
		}
		fmt.Fprintln(&out, words[1], words[3])
	}
	if out.Len() == 0 {
		return "", errors.New("apt would download nothing")
	}
	return out.String(), nil
}
