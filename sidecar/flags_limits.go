package sidecar

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// minHeartbeat is the shortest --heartbeat. A worker beats every half of it, or
// more often, and that must cost it nothing.
const minHeartbeat = 100 * time.Millisecond

// Bounds of the limits. Above them a limit is a typing error; a process with
// fewer descriptors than minOpenFiles cannot even take its session.
const (
	maxCores     = 100_000
	maxProcesses = 4_194_304 // the kernel's own
	minOpenFiles = 8
	maxOpenFiles = 1_048_576
)

// boundFlags are the flags that bound a worker in a session: its silence, the
// phases that it names, and what it may use.
type boundFlags struct {
	budgets map[supervise.Phase]*time.Duration
	limits  LimitFlags
}

// register adds the flags to a flag set. Those whose value needs no reading go
// to o at once.
func (b *boundFlags) register(flags *flag.FlagSet, o *Options) {
	flags.DurationVar(&o.Heartbeat, "heartbeat", 0, "silence of the worker's loop that is taken for a hang, at least 100ms; 0: heartbeats are not asked for")
	b.budgets = map[supervise.Phase]*time.Duration{}
	for _, phase := range supervise.Phases() {
		what := map[supervise.Phase]string{
			supervise.PhaseUpload: "an upload", supervise.PhaseLoad: "the load of a module", supervise.PhaseRun: "a call of a function",
		}[phase]
		b.budgets[phase] = flags.Duration(budgetFlag(phase), 0, "time for "+what+", if the worker tells its phases; 0: bounded by the session alone")
	}
	b.limits.Register(flags)
}

// LimitFlags are the flags that bound what a worker and its children may use, whatever
// the worker is for, and say what it leaves when it is killed.
type LimitFlags struct {
	limits  supervise.Limits
	dump    string
	cpu     string
	memory  string
	workDir string
}

// Register adds the flags to a flag set.
func (b *LimitFlags) Register(flags *flag.FlagSet) {
	o := &b.limits
	flags.StringVar(&b.dump, "kill-dump", "none", "`signal` between SIGTERM and SIGKILL: quit (the worker prints its stacks), abort (it leaves a core) or none")
	flags.Int64Var(&o.File, "file-limit", 0, "`bytes` that a worker may write to one file; 0: no limit")
	flags.StringVar(&b.cpu, "limit-cpu", "0", "`cores` that a worker and its children may use, such as 0.5, 500m or 2; 0: no limit")
	flags.StringVar(&b.memory, "limit-memory", "0", "`size` of the memory of a worker and its children, in bytes or such as 512Mi; 0: no limit")
	flags.Int64Var(&o.Processes, "limit-processes", 0, "`number` of processes and threads of a worker and its children; 0: no limit")
	flags.Int64Var(&o.OpenFiles, "limit-open-files", 0, "`number` of descriptors of each process, at least 8; 0: no limit")
	flags.StringVar(&b.workDir, "limit-work-dir", "0", "`size` of a session's work directory, measured about every second, in bytes or such as 1Gi; 0: no limit")
}

func budgetFlag(phase supervise.Phase) string { return "budget-" + string(phase) }

// check reads the flags into o. An error names the flag that is wrong.
func (b *boundFlags) check(o *Options) error {
	if o.Heartbeat != 0 && o.Heartbeat < minHeartbeat {
		return fmt.Errorf("--heartbeat: %s: want 0 (none) or at least %s", o.Heartbeat, minHeartbeat)
	}
	o.Budgets = map[supervise.Phase]time.Duration{}
	for _, phase := range supervise.Phases() {
		switch budget := *b.budgets[phase]; {
		case budget < 0:
			return fmt.Errorf("--%s: %s is negative", budgetFlag(phase), budget)
		case budget > 0:
			o.Budgets[phase] = budget
		}
	}
	var err error
	o.Limits, o.Dump, err = b.limits.Limits()
	return err
}

// Limits reads the flags. An error names the flag that is wrong.
func (b *LimitFlags) Limits() (limits supervise.Limits, dump syscall.Signal, err error) {
	limits = b.limits
	if dump, err = ParseDump(b.dump); err != nil {
		return limits, dump, fmt.Errorf("--kill-dump: %w", err)
	}
	if limits.CPU, err = parseCores(b.cpu); err != nil {
		return limits, dump, fmt.Errorf("--limit-cpu: %w", err)
	}
	if limits.Memory, err = parseSize(b.memory); err != nil {
		return limits, dump, fmt.Errorf("--limit-memory: %w", err)
	}
	if limits.WorkDir, err = parseSize(b.workDir); err != nil {
		return limits, dump, fmt.Errorf("--limit-work-dir: %w", err)
	}
	return limits, dump, checkCounts(limits)
}

// checkCounts checks the limits that are whole numbers.
func checkCounts(l supervise.Limits) error {
	switch {
	case l.File < 0:
		return fmt.Errorf("--file-limit: %d is negative", l.File)
	case l.Processes < 0 || l.Processes > maxProcesses:
		return fmt.Errorf("--limit-processes: %d is not between 0 and %d", l.Processes, maxProcesses)
	case l.OpenFiles != 0 && (l.OpenFiles < minOpenFiles || l.OpenFiles > maxOpenFiles):
		return fmt.Errorf("--limit-open-files: %d: want 0 (no limit) or %d to %d", l.OpenFiles, minOpenFiles, maxOpenFiles)
	}
	return nil
}

// ParseIsolation reads a kind of isolation, in whatever case.
func ParseIsolation(text string) (Isolation, error) {
	switch i := Isolation(strings.ToLower(text)); i {
	case IsolationFork, IsolationWatchdog:
		return i, nil
	}
	return "", fmt.Errorf("%.40q: want %s or %s", text, IsolationFork, IsolationWatchdog)
}

// ParseDump reads what a worker is told to leave before it is killed, in
// whatever case: nothing (none, signal 0), its stacks (quit, SIGQUIT) or a core
// (abort, SIGABRT).
func ParseDump(text string) (syscall.Signal, error) {
	switch strings.ToLower(text) {
	case "none":
		return 0, nil
	case "quit":
		return syscall.SIGQUIT, nil
	case "abort":
		return syscall.SIGABRT, nil
	}
	return 0, fmt.Errorf("%.40q: want none, quit or abort", text)
}

// parseCores reads a number of cores, with at most three decimals or in
// thousandths with suffix m, and returns thousandths of a core.
func parseCores(text string) (int64, error) {
	wrong := fmt.Errorf("%.40q: want cores such as 0.5, 500m or 2, at most %d", text, maxCores)
	number, thousandths := strings.CutSuffix(text, "m")
	whole, decimals, pointed := strings.Cut(number, ".")
	factor := int64(1000)
	switch {
	case thousandths && pointed, pointed && (decimals == "" || len(decimals) > 3):
		return 0, wrong
	case thousandths:
		factor = 1
	}
	n, err := parseDigits(whole)
	if err != nil || n > maxCores*1000/factor {
		return 0, wrong
	}
	n *= factor
	if pointed {
		part, err := parseDigits((decimals + "00")[:3])
		if err != nil || n+part > maxCores*1000 {
			return 0, wrong
		}
		n += part
	}
	return n, nil
}

// parseSize reads a number of bytes, or of Ki, Mi or Gi, and returns bytes.
func parseSize(text string) (int64, error) {
	number, factor := text, int64(1)
	for i, suffix := range []string{"Ki", "Mi", "Gi"} {
		if n, ok := strings.CutSuffix(text, suffix); ok {
			number, factor = n, 1<<(10*(i+1))
		}
	}
	switch n, err := parseDigits(number); {
	case errors.Is(err, strconv.ErrRange) || n > math.MaxInt64/factor:
		return 0, fmt.Errorf("%.40q is too large", text)
	case err != nil:
		return 0, fmt.Errorf("%.40q: want bytes, or a whole number of Ki, Mi or Gi, such as 512Mi", text)
	default:
		return n * factor, nil
	}
}

// parseDigits reads decimal digits, and nothing else.
func parseDigits(text string) (int64, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(text, 10, 64) //nolint:wrapcheck // by the callers
}
