//go:build linux

package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/test/rdma/plan"
)

// QEMU is the program that must be there.
const QEMU = "qemu-system-x86_64"

// Machine is what to run.
type Machine struct {
	Name           string
	Kernel, Initrd string // files
	CPUs           int
	Cable          *os.File // nil: without a network interface; Run closes it
	Number         int      // of the interface; two on one cable have different ones
	Log            io.Writer
	// Each gets the lines of the console; it is called by one goroutine.
	Each func(plan.Line)
}

// ErrSilent is a machine that ended without a word about its plan.
var ErrSilent = errors.New("the machine ended without saying how its plan did")

// Run runs a machine until it switches off. The error is what the guest says has
// failed, or why it could not say anything.
func Run(ctx context.Context, m Machine) error {
	// The kernel kills the child when the thread ends that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, QEMU, m.args()...)
	cmd.SysProcAttr = proc.ChildAttr()
	var failure strings.Builder
	cmd.Stderr = &failure
	if m.Cable != nil {
		cmd.ExtraFiles = []*os.File{m.Cable}
	}
	console, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	err = cmd.Start()
	if m.Cable != nil {
		_ = m.Cable.Close() // so that the other machine sees the end of this one
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	said := m.follow(console)
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case said.Kind == plan.Done:
		return nil
	case said.Kind == plan.Failed:
		err = errors.New(said.Text)
	case ended != nil:
		err = fmt.Errorf("%w: %w: %s", ErrSilent, ended, strings.TrimSpace(failure.String()))
	default:
		err = ErrSilent
	}
	return fmt.Errorf("machine %s: %w", m.Name, err)
}

// follow reads the console to its end, and returns the line that says how the plan did.
func (m Machine) follow(console io.Reader) (said plan.Line) {
	start := time.Now()
	in := bufio.NewReader(console)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			line := plan.Parse(text)
			fmt.Fprintf(m.Log, "%7.2f %s\n", time.Since(start).Seconds(), strings.TrimRight(text, "\r\n"))
			if line.Kind == plan.Done || line.Kind == plan.Failed {
				said = line
			}
			m.Each(line)
		}
		if err != nil {
			return said
		}
	}
}

// boot are the kernel's parameters: a console, and nothing that takes long to emulate.
const boot = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off audit=0 tsc=reliable no_timer_check " +
	"random.trust_cpu=on raid=noautodetect 8250.nr_uarts=1 i8042.nopnp i8042.noaux cryptomgr.notests net.ifnames=0"

// args are QEMU's. The oldest processor is the fastest to emulate.
func (m Machine) args() []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-machine", "q35,accel=tcg", "-cpu", "qemu64", "-smp", strconv.Itoa(m.CPUs), "-m", "512",
		"-kernel", m.Kernel, "-initrd", m.Initrd, "-append", boot,
	}
	if m.Cable != nil {
		const firstExtra = 3
		args = append(args, "-netdev", fmt.Sprintf("socket,id=cable,fd=%d", firstExtra),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=cable,host_mtu=%d,mac=52:54:00:00:00:%02x", MTU, m.Number))
	}
	return args
}

// MTU is the largest that the interface of a machine may have: enough for packets of
// RDMA with 4 KiB in them.
const MTU = 9000

// Cable returns the two ends of one.
func Cable() (a, b *os.File, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cable between machines: %w", err)
	}
	return os.NewFile(uintptr(ends[0]), "cable"), os.NewFile(uintptr(ends[1]), "cable"), nil
}
