package device

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// childVariable makes of this test's program one that tries to lock memory, as a user
// and with a limit: what is asked of it is in the variable.
const childVariable = "RPCPOOL_TEST_LOCK"

// tryLocking is what the child does. A user that is not root has the capability in its
// bounding set only, as a container's has.
func tryLocking(what string) {
	const limit = 64 << 10
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		fmt.Println("setrlimit:", err)
		return
	}
	if what == "nobody" {
		if err := syscall.Setuid(65534); err != nil {
			fmt.Println("setuid:", err)
			return
		}
	}
	h := Host{}.withDefaults()
	l := h.locked(MinLocked)
	fmt.Printf("capable=%t limit=%d refusal=%v err=%v\n", l.capable, l.limit, l.refusal, l.err)
	l = h.locked(limit / 2)
	fmt.Printf("little: enough=%t\n", l.enough())
}

// TestALockIsTriedForReal: what counts is what the kernel says, not what the process
// was given.
func TestALockIsTriedForReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has the capability")
	}
	const refused = "refusal=cannot allocate memory err=<nil>\nlittle: enough=true\n"
	for what, tc := range map[string]struct {
		attr *syscall.SysProcAttr
		want string
	}{
		"root":   {nil, "capable=true limit=65536 refusal=<nil> err=<nil>\nlittle: enough=true\n"},
		"nobody": {nil, "capable=false limit=65536 " + refused},
		"root of a user namespace": {
			&syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				Credential:  &syscall.Credential{NoSetGroups: true},
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
			},
			"capable=true limit=65536 " + refused,
		},
	} {
		t.Run(what, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Env, cmd.SysProcAttr = append(os.Environ(), childVariable+"="+what), tc.attr
			out, err := cmd.CombinedOutput()
			if errors.Is(err, syscall.EPERM) && tc.attr != nil {
				t.Skip("no user namespaces here")
			}
			if err != nil || !strings.HasPrefix(string(out), tc.want) {
				t.Errorf("%v\n%s, want\n%s", err, out, tc.want)
			}
		})
	}
}
