package rpc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestHugePagesForWhatComesFromElsewhere: puts, gets, handlers in workers and arguments by themselves are as
// with any other memory.
func TestHugePagesForWhatComesFromElsewhere(t *testing.T) {
	const file = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(file)
	if err != nil || os.Getuid() != 0 {
		t.Skipf("only root can set huge pages aside, where there are some: %v", err)
	}
	have, _ := strconv.Atoi(strings.TrimSpace(string(before)))
	if err := os.WriteFile(file, fmt.Append(nil, have+32), 0); err != nil {
		t.Skipf("this system sets no huge pages aside: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Error(err)
		}
	})
	for name, so := range map[string]ServerOptions{"in a process": {}, "in a worker": {Isolate: &Isolate{Command: []string{os.Args[0]}}}} {
		t.Run(name, func(t *testing.T) {
			so.Blobs.HugePages = true
			r := newFarRig(t, so, ClientOptions{FarThreshold: LongBlob})
			data := fill(9 << 20)
			b, err := r.PutBlob(soon(t), uint64(len(data)), bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(data))
			if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
				t.Errorf("it does not come back: %v", err)
			}
			if n, err := Call[int](soon(t), r, "touch", printArgs{Buffer: b.In()}); err != nil || n != len(data) {
				t.Errorf("a handler has %d bytes, %v", n, err)
			}
			if sum, err := Call[uint64](soon(t), r, "sum", data[1:]); err != nil || sum != checksum(data[1:]) {
				t.Errorf("arguments are other ones: %v", err)
			}
			if err := b.Free(); err != nil {
				t.Error(err)
			}
		})
	}
}
