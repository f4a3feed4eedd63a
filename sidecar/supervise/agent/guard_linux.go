package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// guardName is argv[0] of the guard. Its arguments: a [guardPlan] as JSON,
	// and the agent's argv.
	guardName = "rpcpool-agent-guard"
	guardArgs = 2 // with argv[0], without the agent's argv

	// envGuarded tells the agent that its parent is its guard.
	envGuarded = "RPCPOOL_AGENT_GUARDED"

	// guardReap is for how long the guard waits for processes that do not die
	// of SIGKILL, before it leaves them.
	guardReap = 10 * time.Second
	// guardStop is for how long an agent whose parent is gone may take to end
	// in order. Nobody else is there to lose patience.
	guardStop = time.Minute
)

// guardPlan says how to be a guard.
type guardPlan struct {
	Log  LogOptions    `json:"log"`
	Reap time.Duration `json:"reap"`
	Stop time.Duration `json:"stop"`
}

// Guarded puts the agent below a guard: a process that outlives the agent,
// however that ends, kills and reaps every process it leaves, and ends with the
// agent's status (128 and the signal's number, if one killed it) only then; with
// 1 if some process cannot be killed. So who restarts the agent never has two
// trees of processes. The guard ends the agent in order at SIGTERM, SIGINT,
// SIGHUP and at the end of its own parent, which it notices as [WithParent] has
// it, and kills it at SIGQUIT.
//
// The calling process becomes the guard, and starts its program anew with the
// same arguments: there Guarded returns nil, and so it does as PID 1, whose
// children the kernel kills. A program that calls it must call [MaybeExec]
// first of all, must have nothing to lose by then, and calls [WithParent]
// after it: the agent's parent is the guard, which holds its standard input.
func Guarded(log LogOptions) error {
	if os.Getpid() == 1 {
		return nil
	}
	if _, guarded := os.LookupEnv(envGuarded); guarded {
		setProcessName(filepath.Base(os.Args[0]))
		return os.Unsetenv(envGuarded) //nolint:wrapcheck // cannot fail: the name is valid
	}
	argv, err := guardArgv(guardPlan{Log: log, Reap: guardReap, Stop: guardStop}, os.Args)
	if err != nil {
		return err
	}
	// Anew, because a process is told from another by its argv[0], and because
	// a program that has done nothing yet needs the least memory.
	if err := syscall.Exec("/proc/self/exe", argv, os.Environ()); err != nil { //nolint:gosec // our own program and arguments
		return fmt.Errorf("become the agent's guard: %w", err)
	}
	return nil
}

// guardArgv is the guard's argv.
func guardArgv(p guardPlan, agent []string) ([]string, error) {
	plan, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the guard's plan: %w", err)
	}
	return append([]string{guardName, string(plan)}, agent...), nil
}

// setProcessName sets what ps and top show without arguments: after an exec by
// way of /proc it is "exe". The kernel cuts it short.
func setProcessName(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}
