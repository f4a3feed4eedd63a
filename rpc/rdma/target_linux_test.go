package rdma

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/rdma/verbs"
)

// The other machine: a process for each connection that a test makes, which has the
// bytes. It does what it is told, one thing after another.
//
//	test ── request ──▶ server ── the connection ──▶ target, a process
//	     ◀───────────────────── answer ─────────────────┘

// request is what a test asks for.
type request struct {
	Do     string // connect, fill, describe, deregister, unplug, die
	Size   int    // connect: of the memory
	Offer  []byte // connect
	Seed   uint32 // fill
	Offset uint64 // describe
	N      uint64 // fill, describe
}

// answer is what it gets.
type answer struct {
	Offer      []byte
	Sum        uint32 // CRC-32 of what is filled
	Descriptor []byte
	Err        string
}

// serve has a process for each connection, until a client is done.
func serve(address string) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	return accept(l)
}

func accept(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		var first [1]byte
		if _, err := io.ReadFull(c, first[:]); err != nil || first[0] == 'q' {
			return errors.Join(err, c.Close(), l.Close())
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleEnv+"=target")
		cmd.ExtraFiles = []*os.File{f}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := errors.Join(cmd.Start(), f.Close(), c.Close()); err != nil {
			return err
		}
		go func() { _ = cmd.Wait() }()
	}
}

// done tells the other machine's server that there are no more tests, and waits until it has heard that: this machine
// is switched off next, with what is still on its way.
func done() error {
	address := os.Getenv(peerEnv)
	if address == "" {
		return nil
	}
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("q"))
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	return errors.Join(err, c.Close())
}

// target is the process that has the bytes.
func target(control *os.File) error {
	p := &owner{}
	in, out := json.NewDecoder(control), json.NewEncoder(control)
	for {
		var q request
		if err := in.Decode(&q); err != nil {
			return p.close()
		}
		a, err := p.do(q)
		if err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return errors.Join(err, p.close())
		}
	}
}

// owner is what a target has.
type owner struct {
	machine

	endpoint *Endpoint
}

func (p *owner) do(q request) (a answer, err error) {
	switch q.Do {
	case "connect":
		if p.machine, err = newMachine(q.Size, Options{Inline: -1}); err != nil {
			return a, err
		}
		if p.endpoint, err = p.adapter.NewEndpoint(); err != nil {
			return a, err
		}
		a.Offer = p.endpoint.Offer()
		return a, p.endpoint.Connect(q.Offer)
	case "fill":
		fill(p.memory[:q.N], q.Seed)
		a.Sum = crc32.ChecksumIEEE(p.memory[:q.N])
	case "describe":
		d, err := p.region.Describe(q.Offset, q.N)
		a.Descriptor = d.Append(nil)
		return a, err
	case "deregister":
		return a, p.region.Close()
	case "unplug": // for so long that a peer is sure
		if err := setLink(os.Getenv(netdevEnv), false); err != nil {
			return a, err
		}
		time.Sleep(3 * time.Second)
		return a, setLink(os.Getenv(netdevEnv), true)
	case "die":
		return a, syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	}
	return a, nil
}

func (p *owner) close() error {
	if p.adapter == nil {
		return nil
	}
	return p.adapter.Close()
}

// fill fills memory with bytes that a seed gives, 4 at a time.
func fill(b []byte, seed uint32) {
	x := seed | 1
	for ; len(b) >= 4; b = b[4:] {
		x = x*1664525 + 1013904223
		b[0], b[1], b[2], b[3] = byte(x), byte(x>>8), byte(x>>16), byte(x>>24)
	}
}

// machine is one end: a device, and memory of a file that has no name.
type machine struct {
	adapter *Adapter
	file    *os.File
	memory  []byte
	region  *Region
}

func newMachine(bytes int, o Options) (m machine, err error) {
	o.Device = os.Getenv(deviceEnv)
	if o.Driver, err = verbs.Load(); err != nil {
		return m, err
	}
	o.Locate = func() (Place, error) { return find(o.Driver, o.Device) }
	o.Timeout, o.Retries = 16, 3 // 1.1 s: virtual machines stand still at times
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		return m, err
	}
	m.file = os.NewFile(uintptr(fd), "test")
	if err := m.file.Truncate(int64(bytes)); err != nil {
		return m, err
	}
	if m.memory, err = unix.Mmap(fd, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return m, err
	}
	if m.adapter, err = Open(o); err != nil {
		return m, err
	}
	m.region, err = m.adapter.Register(m.memory, both)
	return m, err
}

// find finds the device's GID that is this machine's address. The tests' devices have
// none but those of RoCE v2.
func find(d verbs.Driver, name string) (Place, error) {
	address := os.Getenv(addressEnv)
	if address == "" {
		address = "127.0.0.1"
	}
	device, err := d.Open(name)
	if err != nil {
		return Place{}, err
	}
	p := Place{Port: 1, GID: gidOf(address)}
	for ; p.Index < 256; p.Index++ {
		gid, err := device.GID(p.Port, p.Index)
		if err != nil {
			return Place{}, errors.Join(err, device.Close())
		}
		if gid == p.GID {
			return p, device.Close()
		}
	}
	return Place{}, errors.Join(fmt.Errorf("%s has no GID of %s", name, address), device.Close())
}

// sumOf prints the CRC-32 of memory, as a third process sees it.
func sumOf(f *os.File) error {
	n, err := strconv.Atoi(os.Getenv("RPCPOOL_RDMA_BYTES"))
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	fmt.Println(crc32.ChecksumIEEE(b))
	return unix.Munmap(b)
}

// lockedChild tries to register more than the limit lets it.
func lockedChild() {
	_, err := newMachine(4<<20, Options{})
	fmt.Println(ReasonOf(err), err)
}

// setLink takes a network interface up or down.
func setLink(name string, up bool) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, r); err != nil {
		return err
	}
	flags := r.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	r.SetUint16(flags)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}
