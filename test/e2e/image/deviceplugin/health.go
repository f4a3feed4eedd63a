package deviceplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// health is which devices are unhealthy, for who waits for a change.
type health struct {
	mu      sync.Mutex
	sick    map[string]bool
	changed chan struct{} // closed at the next change
}

func newHealth() *health { return &health{changed: make(chan struct{})} }

// get returns the unhealthy addresses, and what is closed when they are others.
func (h *health) get() (sick map[string]bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sick, h.changed
}

func (h *health) set(sick map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if maps.Equal(h.sick, sick) {
		return
	}
	h.sick = sick
	close(h.changed)
	h.changed = make(chan struct{})
}

// readHealth reads the file of the unhealthy. Without one all are healthy.
func readHealth(path string) (map[string]bool, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err //nolint:wrapcheck // names the file
	}
	sick := make(map[string]bool)
	for _, address := range strings.Fields(string(text)) {
		sick[address] = true
	}
	return sick, nil
}

// SetHealth says in a file that a device is healthy, or that it is not, and leaves
// what the file says of others.
func SetHealth(path, address string, healthy bool) error {
	sick, err := readHealth(path)
	if err != nil {
		return fmt.Errorf("set health: %w", err)
	}
	sick[address] = true
	if healthy {
		delete(sick, address)
	}
	var text strings.Builder
	for _, address := range slices.Sorted(maps.Keys(sick)) {
		fmt.Fprintln(&text, address)
	}
	// In one step: a half of the file would be another health of other devices.
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temporary, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("set health: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("set health: %w", err)
	}
	return nil
}
