package matmul

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ScratchpadBytes is the size of the device's memory for packed tiles.
const ScratchpadBytes = 32 << 10

const floatBytes = 4

// scratchpad is the device's fast memory: ScratchpadBytes that end where an
// unmapped page begins. Like a device's it checks nothing.
type scratchpad struct {
	region unsafe.Pointer // the whole mapping
	length uintptr
	base   unsafe.Pointer // of the usable memory
}

// newScratchpad maps a scratchpad; close gives it back.
func newScratchpad() (*scratchpad, error) {
	page := uintptr(os.Getpagesize())
	usable := (ScratchpadBytes + page - 1) / page * page
	s := &scratchpad{length: usable + page}
	var err error
	s.region, err = unix.MmapPtr(-1, 0, nil, s.length, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map scratchpad: %w", err)
	}
	//nolint:gosec // the bytes are ours: usable is shorter than the mapping
	if err := unix.Mprotect(unsafe.Slice((*byte)(s.region), usable), unix.PROT_READ|unix.PROT_WRITE); err != nil {
		_ = s.close()
		return nil, fmt.Errorf("open scratchpad: %w", err)
	}
	// The end, not the beginning, lies on a page's edge: the first byte too many is fatal.
	s.base = unsafe.Add(s.region, usable-ScratchpadBytes)
	return s, nil
}

func (s *scratchpad) close() error {
	if err := unix.MunmapPtr(s.region, s.length); err != nil {
		return fmt.Errorf("unmap scratchpad: %w", err)
	}
	return nil
}

// pack copies the rows×cols matrix at the start of src to the scratchpad,
// offset elements from its beginning and in ascending addresses, and returns
// the copy. It runs over the end if the copy does not fit: that is the device's
// fault model, see the package comment.
func (s *scratchpad) pack(offset int, src view, rows, cols int, layout func(rows, cols int) (rs, cs int)) view {
	rs, cs := layout(rows, cols)
	start := unsafe.Add(s.base, offset*floatBytes)
	at := start
	if cs == 1 {
		for r := range rows {
			for c := range cols {
				*(*float32)(at) = src.data[r*src.rs+c*src.cs]
				at = unsafe.Add(at, floatBytes)
			}
		}
	} else {
		for c := range cols {
			for r := range rows {
				*(*float32)(at) = src.data[r*src.rs+c*src.cs]
				at = unsafe.Add(at, floatBytes)
			}
		}
	}
	//nolint:gosec // raw pointers without a check are what is modelled here
	return view{data: unsafe.Slice((*float32)(start), rows*cols), rs: rs, cs: cs}
}
