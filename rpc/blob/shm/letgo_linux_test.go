package shm

import (
	"errors"
	"log/slog"
	"testing"

	"rpcpool.dev/rpc/blob"
)

// Devices let go of a segment before anybody else gets its memory; if they cannot,
// nobody ever does.
func TestDevicesLetGoBeforeASegmentIsGivenBack(t *testing.T) {
	for _, kept := range []error{nil, errors.New("the device is stuck")} {
		var asked []int
		h := NewHost(Options{Logger: slog.New(slog.DiscardHandler), LetGo: func(segment []byte) error {
			asked = append(asked, len(segment))
			segment[0]++ // it is still mapped
			return kept
		}})
		p, err := h.Connect("owner")
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.Allocate(1<<20, blob.Read)
		if err != nil {
			t.Fatal(err)
		}
		b.Bytes()[0] = 1
		if err := h.Close(); !errors.Is(err, kept) {
			t.Errorf("%v, want %v", err, kept)
		}
		_ = p.Close() // its host is gone
		if len(asked) != 1 || asked[0] < 1<<20 {
			t.Errorf("asked for %v", asked)
		}
	}
}
