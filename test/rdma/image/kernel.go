//go:build linux

package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Where the header of Linux' boot protocol has what we need.
const (
	setupSectorsAt  = 0x1f1
	magicAt         = 0x202
	payloadAt       = 0x248
	payloadLengthAt = 0x24c
	sector          = 512
)

// payload cuts the compressed kernel out of a bootable one.
func payload(boot []byte) ([]byte, error) {
	if len(boot) < payloadLengthAt+4 || string(boot[magicAt:magicAt+4]) != "HdrS" {
		return nil, errors.New("not a kernel for x86: no boot header")
	}
	setup := int(boot[setupSectorsAt])
	if setup == 0 {
		setup = 4 // as it was before the field was
	}
	start := (setup+1)*sector + int(binary.LittleEndian.Uint32(boot[payloadAt:]))
	end := start + int(binary.LittleEndian.Uint32(boot[payloadLengthAt:]))
	if start > end || end > len(boot) {
		return nil, fmt.Errorf("kernel is cut short: %d bytes, its payload ends at %d", len(boot), end)
	}
	return boot[start:end], nil
}

// writeKernel unpacks a bootable kernel.
func writeKernel(ctx context.Context, from, to string) error {
	boot, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	packed, err := payload(boot)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if !bytes.HasPrefix(packed, []byte("\xfd7zXZ\x00")) {
		return fmt.Errorf("%s is not compressed by xz, but begins with % x", from, packed[:min(len(packed), 6)])
	}
	// Behind the stream is its size, which is no padding of the format.
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = bytes.NewReader(packed)
	unpacked, err := run(cmd)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(unpacked, []byte("\x7fELF")) {
		return fmt.Errorf("%s holds no ELF file", from)
	}
	if err := os.WriteFile(to, unpacked, 0o644); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	return nil
}

// run returns what a program has printed; what it said of an error is in the error.
func run(cmd *exec.Cmd) ([]byte, error) {
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(failure.Bytes()))
	}
	return out.Bytes(), nil
}
