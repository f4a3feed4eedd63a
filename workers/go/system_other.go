//go:build !linux

package worker

func quickAck(int) {}

// totalMemory is the machine's memory in bytes.
func totalMemory() uint64 { return unknownMemory }
