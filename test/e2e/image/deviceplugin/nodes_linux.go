package deviceplugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MakeNodes makes the character devices of devices in a node's /dev, which is at
// dev here, if they are not there. They are stand-ins: each is /dev/null.
func MakeNodes(dev string, devices []Device) error {
	const major, minor = 1, 3
	null := int(unix.Mkdev(major, minor))
	for _, d := range devices {
		for _, path := range d.nodes().all() {
			path = filepath.Join(dev, strings.TrimPrefix(path, "/dev/"))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return fmt.Errorf("device nodes: %w", err)
			}
			err := unix.Mknod(path, unix.S_IFCHR|0o666, null)
			if errors.Is(err, unix.EEXIST) {
				continue
			}
			if err != nil {
				return fmt.Errorf("make device node %s: %w", path, err)
			}
			if err := os.Chmod(path, 0o666); err != nil { // the umask had its say
				return fmt.Errorf("device nodes: %w", err)
			}
		}
	}
	return nil
}
