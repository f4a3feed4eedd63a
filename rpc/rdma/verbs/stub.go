//go:build !linux || !cgo || !rdma

package verbs

import "fmt"

// Load finds the driver of this machine's devices: none, in this build.
func Load() (Driver, error) {
	return nil, fmt.Errorf("%w: this program was built without it (build tag rdma, which needs cgo and Linux)", ErrNoRDMA)
}
