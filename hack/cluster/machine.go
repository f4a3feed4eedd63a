package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is one of a cluster's machines.
type machine struct {
	c    *cluster
	name string
	node int // 1 and up; 0 is the control plane
}

// process is how a machine's init is found again. An id alone may be somebody else's by then.
type process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat, in clock ticks since boot
}

func (m *machine) path(elements ...string) string {
	return m.c.path(append([]string{m.name}, elements...)...)
}

// pid is the id of the machine's init, if that runs.
func (m *machine) pid() (int, bool) {
	text, err := os.ReadFile(m.path("init.json"))
	if err != nil {
		return 0, false
	}
	var p process
	if json.Unmarshal(text, &p) != nil {
		return 0, false
	}
	state, started := stat(p.PID)
	return p.PID, started == p.Started && state != "" && state != "Z"
}

// stat returns a process's state and start time, or nothing if there is none.
func stat(pid int) (state, started string) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", ""
	}
	// The second field is a name in parentheses, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const startTime = 22 - 3
	if len(fields) <= startTime {
		return "", ""
	}
	return fields[0], fields[startTime]
}

// boot starts the machine, unless it runs.
func (m *machine) boot(ctx context.Context) error {
	if _, running := m.pid(); running {
		return nil
	}
	if err := m.connect(ctx); err != nil {
		return err
	}
	if m.node > 0 {
		if err := m.makeGroups(ctx); err != nil {
			return err
		}
	}
	if err := m.configure(); err != nil {
		return err
	}
	log, err := os.Create(m.path("log", "init.log"))
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.name, err)
	}
	defer log.Close()                                                               //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(m.c.path("cluster"), "--dir", m.c.dir, initCommand, m.name) //nolint:noctx // it outlives this program
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
	}
	if err := startIn(filepath.Join(namespaces, m.namespace()), cmd); err != nil {
		return fmt.Errorf("boot %s: %w", m.name, err)
	}
	_, started := stat(cmd.Process.Pid)
	text, err := json.Marshal(process{PID: cmd.Process.Pid, Started: started})
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.name, err)
	}
	go cmd.Wait() //nolint:errcheck // a zombie while this program runs would be taken for a machine
	return os.WriteFile(m.path("init.json"), text, 0o644)
}

// startIn starts a command in a network namespace.
func startIn(namespace string, cmd *exec.Cmd) error {
	fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", namespace, err)
	}
	defer unix.Close(fd) //nolint:errcheck // it was only looked up
	result := make(chan error)
	go func() {
		// The thread is in the namespace for good: not unlocked, it ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter network namespace %s: %w", namespace, err)
			return
		}
		result <- cmd.Start()
	}()
	return <-result
}

// powerCut ends everything in the machine, and nobody outside hears of it.
func (m *machine) powerCut(ctx context.Context) error {
	if m.node > 0 {
		if err := m.unplug(ctx); err != nil {
			return err
		}
	}
	return m.end(ctx)
}

// end kills the machine's init, by which the kernel ends all its processes, and
// waits until they are gone.
func (m *machine) end(ctx context.Context) error {
	pid, running := m.pid()
	if !running {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if ended(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("end %s: %w", m.name, err)
	}
	defer unix.Close(fd)                           //nolint:errcheck // it was only waited on
	if again, ok := m.pid(); !ok || again != pid { // between the look and the open
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !ended(err) {
		return fmt.Errorf("end %s: %w", m.name, err)
	}
	for {
		// Readable: it has ended, whoever is to reap it.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Second/time.Millisecond))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("end %s: %w", m.name, err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("end %s: %w", m.name, err)
		}
	}
}

// remove ends the machine and removes what is outside of its directory.
func (m *machine) remove(ctx context.Context) error {
	if err := m.end(ctx); err != nil {
		return err
	}
	if err := m.removeGroups(ctx); err != nil {
		return err
	}
	return m.disconnect(ctx)
}

// children are the names of a process's children, with their ids.
func children(pid int) []string {
	var names []string
	for name, ids := range childrenByName(pid) {
		for _, id := range ids {
			names = append(names, fmt.Sprintf("%s %d", name, id))
		}
	}
	return names
}

// childrenByName are the ids of a process's children by the name they were called by.
func childrenByName(pid int) map[string][]int {
	found := map[string][]int{}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for id := range strings.FieldsSeq(string(text)) {
			line, err := os.ReadFile(filepath.Join("/proc", id, "cmdline"))
			child, numErr := strconv.Atoi(id)
			if err != nil || numErr != nil || len(line) == 0 {
				continue
			}
			name := filepath.Base(strings.SplitN(string(line), "\x00", 2)[0])
			found[name] = append(found[name], child)
		}
	}
	return found
}

// killService kills one of the machine's services.
func (m *machine) killService(name string) error {
	pid, running := m.pid()
	if !running {
		return fmt.Errorf("%s is off", m.name)
	}
	ids := childrenByName(pid)[name]
	if len(ids) == 0 {
		return fmt.Errorf("no service %s runs on %s; there are %s", name, m.name, strings.Join(children(pid), ", "))
	}
	for _, id := range ids {
		if err := unix.Kill(id, unix.SIGKILL); err != nil && !ended(err) {
			return fmt.Errorf("kill %s on %s: %w", name, m.name, err)
		}
	}
	return nil
}

// exec replaces this program by another one inside the machine.
func (m *machine) exec(args []string) error {
	pid, running := m.pid()
	if !running {
		return fmt.Errorf("%s is off", m.name)
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"bash"}
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("run a program in %s: %w", m.name, err)
	}
	argv := append([]string{nsenter, "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}, args...)
	environment := append(os.Environ(), "PATH="+m.searchPath(), "KUBECONFIG="+m.c.path("kubeconfig"))
	return syscall.Exec(nsenter, argv, environment)
}
