package rdma

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/rdma/verbs"
)

// These tests need a device, RPCPOOL_RDMA_DEVICE, and the build tag rdma. With
// RPCPOOL_RDMA_PEER the bytes are on another machine, on which this test binary runs
// with RPCPOOL_RDMA_LISTEN. Lines that begin with "figure" are for comparison with
// other programs on the same machines.

// far is a process that has bytes, and the way to it.
type far struct {
	*testing.T
	machine

	endpoint *Endpoint
	control  net.Conn
	in       *json.Decoder
}

// needDevice skips a test without a device.
func needDevice(t *testing.T) {
	t.Helper()
	if os.Getenv(deviceEnv) == "" {
		t.Skipf("there is no RDMA device: %s is not set", deviceEnv)
	}
}

// connect connects to a process that has so many bytes, by a device of this machine.
func connect(t *testing.T, bytes int, o Options) *far {
	t.Helper()
	needDevice(t)
	o.Inline = -1
	m, err := newMachine(bytes, o)
	if err != nil {
		t.Fatal(err)
	}
	f := &far{T: t, machine: m}
	t.Cleanup(func() { f.close() })
	f.redial()
	return f
}

// redial makes another process with bytes, and another endpoint to it.
func (f *far) redial() {
	f.Helper()
	address := os.Getenv(peerEnv)
	if address == "" {
		address = here(f.T)
	}
	if f.control != nil {
		f.control.Close()
	}
	var err error
	if f.control, err = (&net.Dialer{Timeout: 30 * time.Second}).DialContext(f.Context(), "tcp", address); err != nil {
		f.Fatal(err)
	}
	if _, err := f.control.Write([]byte("c")); err != nil {
		f.Fatal(err)
	}
	f.in = json.NewDecoder(f.control)
	if f.endpoint, err = f.adapter.NewEndpoint(); err != nil {
		f.Fatal(err)
	}
	a := f.ask(request{Do: "connect", Size: len(f.memory), Offer: f.endpoint.Offer()})
	if err := f.endpoint.Connect(a.Offer); err != nil {
		f.Fatal(err)
	}
}

// here serves on this machine, for as long as the test.
func here(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = accept(l) })
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

func (f *far) close() {
	if f.control != nil {
		f.control.Close()
	}
	if err := f.adapter.Close(); err != nil {
		f.Error(err)
	}
	if err := errors.Join(unix.Munmap(f.memory), f.file.Close()); err != nil {
		f.Error(err)
	}
}

func (f *far) ask(q request) answer {
	f.Helper()
	f.send(q)
	return f.answer(q.Do)
}

func (f *far) send(q request) {
	if err := json.NewEncoder(f.control).Encode(q); err != nil {
		f.Error(err)
	}
}

func (f *far) answer(to string) (a answer) {
	f.Helper()
	if err := f.in.Decode(&a); err != nil || a.Err != "" {
		f.Fatalf("%s: %v %s", to, err, a.Err)
	}
	return a
}

func (f *far) describe(offset, n uint64) Descriptor {
	f.Helper()
	d, err := ParseDescriptor(f.ask(request{Do: "describe", Offset: offset, N: n}).Descriptor)
	if err != nil {
		f.Fatal(err)
	}
	return d
}

func (f *far) pull(d Descriptor) error {
	return f.endpoint.Pull(f.Context(), d, f.region, 0)
}

// want fails unless an error has a reason.
func (f *far) want(err error, reason Reason) {
	f.Helper()
	if err == nil || ReasonOf(err) != reason {
		f.Fatalf("%v, want %s", err, reason)
	}
	f.Log(err)
}

// third is the CRC-32 of the first n bytes, as another process sees them.
func (f *far) third(n int) uint32 {
	f.Helper()
	cmd := exec.CommandContext(f.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=sum", fmt.Sprintf("RPCPOOL_RDMA_BYTES=%d", n))
	cmd.ExtraFiles = []*os.File{f.file}
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.Fatalf("%v: %s", err, out)
	}
	sum, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 32)
	if err != nil {
		f.Fatal(err)
	}
	return uint32(sum)
}

// The bytes come into memory that a process has mapped which knows nothing of RDMA.
func TestDevicePulls(t *testing.T) {
	for _, mode := range []struct {
		name string
		spin time.Duration
		most int
	}{{"polling", time.Hour, 16 << 20}, {"events", -1, 64 << 20}} {
		t.Run(mode.name, func(t *testing.T) {
			f := connect(t, mode.most, Options{Spin: mode.spin})
			pulls := uint64(0)
			for n := 1 << 20; n <= len(f.memory); n *= 4 {
				want := f.ask(request{Do: "fill", N: uint64(n), Seed: uint32(n)}).Sum
				clear(f.memory)
				d := f.describe(0, uint64(n))
				begun := time.Now()
				if err := f.pull(d); err != nil {
					t.Fatal(err)
				}
				took := time.Since(begun)
				pulls++
				if here, there := crc32.ChecksumIEEE(f.memory[:n]), f.third(n); here != want || there != want {
					t.Fatalf("%d bytes: sum %08x here, %08x in a third process, want %08x", n, here, there, want)
				}
				fmt.Printf("figure pull %d MiB, %s: %.1f MiB/s\n", n>>20, mode.name, float64(n)/(1<<20)/took.Seconds())
			}
			c := f.adapter.Counts()
			if c.Registrations != 1 || c.Pulls != pulls {
				t.Errorf("%+v", c)
			}
			if mode.spin < 0 && c.Sleeps == 0 && os.Getenv(peerEnv) != "" { // on one machine soft-RoCE completes at once
				t.Error("nobody has slept")
			}
			t.Logf("%d sleeps", c.Sleeps)
		})
	}
}

func TestDeviceLatency(t *testing.T) {
	for _, mode := range []struct {
		name string
		spin time.Duration
	}{{"polling", time.Hour}, {"events", -1}} {
		f := connect(t, 1<<20, Options{Spin: mode.spin})
		for _, n := range []uint64{8, 4 << 10} {
			d, took := f.describe(0, n), make([]time.Duration, 200)
			for i := range took {
				begun := time.Now()
				if err := f.pull(d); err != nil {
					t.Fatal(err)
				}
				took[i] = time.Since(begun)
			}
			slices.Sort(took) // the median, which is perftest's typical time: means are those of a machine's other work
			fmt.Printf("figure pull %d bytes, %s: %.1f us\n", n, mode.name, took[len(took)/2].Seconds()*1e6)
		}
	}
}

// What it costs to let the device have memory for one transfer, and what to copy it to where the device has some: see
// mover.Stage.
func TestDeviceRegistersOrCopies(t *testing.T) {
	f := connect(t, 4<<20, Options{})
	for _, n := range []int{16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		b := make([]byte, n)
		fill(b, 7)
		registers, copies := make([]time.Duration, 20), make([]time.Duration, 20)
		for i := range registers {
			begun := time.Now()
			r, err := f.adapter.RegisterOnce(b, verbs.Source)
			if err == nil {
				err = r.Close()
			}
			registers[i] = time.Since(begun)
			if err != nil {
				t.Fatal(err)
			}
			begun = time.Now()
			copy(f.memory, b)
			copies[i] = time.Since(begun)
		}
		slices.Sort(registers)
		slices.Sort(copies)
		fmt.Printf("figure register %d KiB: %.1f us, copy it: %.1f us\n", n>>10, registers[10].Seconds()*1e6, copies[10].Seconds()*1e6)
	}
}

func TestDeviceManyPullAtOnce(t *testing.T) {
	const n, parts = 16 << 20, 8
	f := connect(t, n, Options{})
	want := f.ask(request{Do: "fill", N: n, Seed: 8}).Sum
	var all sync.WaitGroup
	for i := range uint64(parts) {
		d := f.describe(i*n/parts, n/parts)
		all.Go(func() {
			if err := f.endpoint.Pull(t.Context(), d, f.region, i*n/parts); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := crc32.ChecksumIEEE(f.memory[:n]); got != want {
		t.Errorf("sum %08x, want %08x", got, want)
	}
}

// What the peer has not described, or not any more, cannot be read; another queue pair
// is as good as new.
func TestDeviceRefuses(t *testing.T) {
	f := connect(t, 1<<20, Options{})
	for _, c := range []struct {
		name  string
		forge func(*Descriptor)
	}{
		{"wrong key", func(d *Descriptor) { d.Key ^= 0xff00 }},
		{"out of range", func(d *Descriptor) { d.Address += uint64(len(f.memory)) - d.Length + 1 }},
		{"deregistered", func(*Descriptor) { f.ask(request{Do: "deregister"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := f.describe(0, 8<<10)
			if err := f.pull(d); err != nil {
				t.Fatal(err)
			}
			c.forge(&d)
			fill(f.memory[:8<<10], 99)
			before := crc32.ChecksumIEEE(f.memory)
			f.want(f.pull(d), Refused)
			if crc32.ChecksumIEEE(f.memory) != before {
				t.Error("something was written")
			}
			f.want(f.pull(d), Closed)
			f.again()
		})
	}
}

// again makes another endpoint, and pulls by it.
func (f *far) again() {
	f.Helper()
	if err := f.endpoint.Close(); err != nil {
		f.Fatal(err)
	}
	f.redial()
	want := f.ask(request{Do: "fill", N: 1 << 20, Seed: 5}).Sum
	if err := f.pull(f.describe(0, 1<<20)); err != nil {
		f.Fatal(err)
	}
	if got := crc32.ChecksumIEEE(f.memory[:1<<20]); got != want {
		f.Errorf("sum %08x, want %08x", got, want)
	}
}

// untilItFails pulls all memory again and again, while something happens that makes a
// pull fail with one of some reasons.
func (f *far) untilItFails(happen func(), reasons ...Reason) {
	f.Helper()
	d := f.describe(0, uint64(len(f.memory)))
	if err := f.pull(d); err != nil {
		f.Fatal(err)
	}
	var happening sync.WaitGroup
	happening.Go(happen)
	var err error
	last := time.Now()
	for err = f.pull(d); err == nil; err = f.pull(d) {
		last = time.Now()
	}
	happening.Wait()
	f.Logf("%v after the last good pull", time.Since(last))
	if !slices.Contains(reasons, ReasonOf(err)) {
		f.Fatalf("%v, want one of %v", err, reasons)
	}
	f.Log(err)
	f.quiet()
}

// Its memory may be taken from its device before its queue pair is destroyed.
func TestDevicePeerIsKilledInMidTransfer(t *testing.T) {
	f := connect(t, 4<<20, Options{})
	f.untilItFails(func() { f.send(request{Do: "die"}) }, Silent, Refused)
	f.again()
}

// quiet fails if anything is written that nobody pulls.
func (f *far) quiet() {
	f.Helper()
	fill(f.memory, 77)
	before := crc32.ChecksumIEEE(f.memory)
	time.Sleep(300 * time.Millisecond)
	if crc32.ChecksumIEEE(f.memory) != before {
		f.Error("something was written after the pull had returned")
	}
}

// The other machine's link: nobody answers. The own one's: soft-RoCE knows at once that
// it cannot send, other devices try as long as with the other one's.
func TestDeviceLinkGoesDownInMidTransfer(t *testing.T) {
	name := os.Getenv(netdevEnv)
	if name == "" {
		t.Skipf("%s is not set", netdevEnv)
	}
	t.Run("the other one's", func(t *testing.T) {
		f := connect(t, 4<<20, Options{})
		f.untilItFails(func() { f.send(request{Do: "unplug"}) }, Silent)
		f.answer("unplug")
		f.again()
	})
	t.Run("the own one", func(t *testing.T) {
		f := connect(t, 4<<20, Options{})
		f.untilItFails(func() { f.set(name, false) }, Silent, LocalFault)
		_, err := f.adapter.NewEndpoint()
		f.set(name, true)
		f.want(err, PortDown)
		for { // the port needs a moment
			e, err := f.adapter.NewEndpoint()
			if err == nil && e.Close() == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		f.again()
	})
}

func (f *far) set(name string, up bool) {
	if err := setLink(name, up); err != nil {
		f.Error(err)
	}
}

func TestDevicePullIsCancelled(t *testing.T) {
	f := connect(t, 8<<20, Options{Chunk: 64 << 10})
	d := f.describe(0, uint64(len(f.memory)))
	cancelled := 0
	for patience := 100 * time.Microsecond; ; patience *= 10 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := f.endpoint.Pull(ctx, d, f.region, 0)
		cancel()
		if err == nil {
			break // it was fast enough
		}
		f.want(err, Cancelled)
		f.quiet()
		cancelled++
	}
	if err := f.endpoint.Err(); err != nil || cancelled == 0 {
		t.Errorf("%v, %d cancelled", err, cancelled)
	}
}

// Nobody may pin more than the limit, but who has the capability; the error says so.
func TestDeviceMemlock(t *testing.T) {
	needDevice(t)
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=locked")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		t.Fatal(err)
	}
	text := string(out)
	if err != nil || !strings.HasPrefix(text, string(Memlock)+" ") || !strings.Contains(text, "at most 64 KiB of memory may be locked") {
		t.Errorf("%v: %s", err, out)
	}
	t.Log(text)
}
