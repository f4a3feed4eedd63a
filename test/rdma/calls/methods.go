//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"rpcpool.dev/rpc"
)

// Seen is what a worker sees of an argument.
type Seen struct {
	Sum    uint32 // CRC-32
	Length int
	Server string // the program of its parent
}

func seen(b []byte) Seen {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	return Seen{Sum: crc32.ChecksumIEEE(b), Length: len(b), Server: strings.TrimSpace(string(name))}
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
	Kill   uint64 // the server is killed when so many bytes have crossed the network after it; 0: it is not
}

func makeNoise(_ context.Context, w Wanted) ([]byte, error) {
	b := noise(w.Length, w.Seed)
	if w.Kill > 0 {
		return b, inMidst(w.Kill, killServer)
	}
	return b, nil
}

// noise is bytes that a seed gives, 8 at a time.
func noise(n int, seed uint32) []byte {
	const golden, size = 0x9e3779b97f4a7c15, 8
	b := make([]byte, (n+size-1)/size*size)
	for at := 0; at < len(b); at += size {
		binary.LittleEndian.PutUint64(b[at:], (uint64(seed)<<32+uint64(at))*golden)
	}
	return b[:n]
}

// Break is when something is broken, and for how long.
type Break struct {
	Traffic uint64 // bytes that have crossed the network by then
	For     time.Duration
}

// netdev is the machine's interface.
const netdev = "eth0"

// inMidst does something when so many bytes have crossed the network.
func inMidst(bytes uint64, do func()) error {
	begun, err := traffic()
	if err != nil {
		return err
	}
	go func() {
		for ; ; time.Sleep(time.Millisecond) {
			if now, err := traffic(); err != nil || now > begun+bytes {
				do()
				return
			}
		}
	}()
	return nil
}

// traffic is how many bytes have crossed the network, there and back.
func traffic() (sum uint64, err error) {
	for _, way := range []string{"rx", "tx"} {
		text, err := os.ReadFile("/sys/class/net/" + netdev + "/statistics/" + way + "_bytes")
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// unplug takes the machine's link down for some time.
func unplug(_ context.Context, b Break) (struct{}, error) {
	link, err := netlink.LinkByName(netdev)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, inMidst(b.Traffic, func() {
		err := netlink.LinkSetDown(link)
		time.Sleep(b.For)
		if err = errors.Join(err, netlink.LinkSetUp(link)); err != nil {
			fmt.Fprintln(os.Stderr, "unplug:", err)
		}
	})
}

// kill kills the server.
func kill(_ context.Context, b Break) (struct{}, error) {
	return struct{}{}, inMidst(b.Traffic, killServer)
}

func killServer() { _ = syscall.Kill(os.Getppid(), syscall.SIGKILL) }

// quit ends the server, when the reply is on its way.
func quit(context.Context, struct{}) (struct{}, error) {
	const soon = 100 * time.Millisecond
	time.AfterFunc(soon, func() { _ = syscall.Kill(os.Getppid(), syscall.SIGTERM) })
	return struct{}{}, nil
}

// work is what a worker process does.
func work(ctx context.Context) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{}})
	if err != nil {
		return err
	}
	rpc.Handle(s, "Look", look)
	rpc.Handle(s, "Invert", invert)
	rpc.Handle(s, "Noise", makeNoise)
	rpc.Handle(s, "Unplug", unplug)
	rpc.Handle(s, "Kill", kill)
	rpc.Handle(s, "Quit", quit)
	return errors.Join(s.Work(ctx), s.Close())
}
