//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"syscall"
	"time"

	"rpcpool.dev/rpc"
)

// Seen is what a worker sees of an argument.
type Seen struct {
	Sum    uint32 // CRC-32
	Length int
	Worker int // its process
	Server int // that of its parent
}

func seen(b []byte) Seen {
	return Seen{Sum: crc32.ChecksumIEEE(b), Length: len(b), Worker: os.Getpid(), Server: os.Getppid()}
}

// look tells what it sees of an argument that is long.
func look(_ context.Context, text []byte) (Seen, error) { return seen(text), nil }

// Room is a blob that a handler changes.
type Room struct{ Bytes rpc.BlobArg }

// invert inverts every byte, in memory that its caller has at the server.
func invert(_ context.Context, r Room) (Seen, error) {
	b := r.Bytes.Bytes()
	before := seen(b)
	for i := range b {
		b[i] = ^b[i]
	}
	return before, nil
}

// Wanted is what noise makes.
type Wanted struct {
	Length int
	Seed   uint32
}

func makeNoise(_ context.Context, w Wanted) ([]byte, error) { return noise(w.Length, w.Seed), nil }

// noise is bytes that a seed gives, 8 at a time.
func noise(n int, seed uint32) []byte {
	const golden, size = 0x9e3779b97f4a7c15, 8
	b := make([]byte, (n+size-1)/size*size)
	for at := 0; at < len(b); at += size {
		binary.LittleEndian.PutUint64(b[at:], (uint64(seed)<<32+uint64(at))*golden)
	}
	return b[:n]
}

// quit ends the worker's server, when the reply is on its way.
func quit(context.Context, struct{}) (struct{}, error) {
	const soon = 100 * time.Millisecond
	time.AfterFunc(soon, func() { _ = syscall.Kill(os.Getppid(), syscall.SIGTERM) })
	return struct{}{}, nil
}

// methods are the server's, and its workers'.
func methods(s *rpc.Server) {
	rpc.Handle(s, "Look", look)
	rpc.Handle(s, "Invert", invert)
	rpc.Handle(s, "Noise", makeNoise)
	rpc.Handle(s, "Quit", quit)
}
