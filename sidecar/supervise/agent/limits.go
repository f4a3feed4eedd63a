package agent

import (
	"strconv"

	"rpcpool.dev/sidecar/supervise"
)

// Controllers of control groups that are of use to the agent.
const (
	controlMemory  = "memory"
	controlCPU     = "cpu"
	controlPids    = "pids"
	controlFreezer = "freezer" // version 1 only
)

// Bounds of what the cpu controller takes, in microseconds.
const (
	cpuPeriod   = 100_000
	minCPUQuota = 1_000
)

// setting is a value for a file of a control group.
type setting struct {
	file, value string
	optional    bool // the limit holds without it, or the kernel may not have it
}

// settings are the files by which a controller's limit is set, in their order;
// none if limits has no such limit. The limit on processes is missing: it is set
// from inside, see [group.joins].
func settings(controller string, unified bool, limits supervise.Limits) []setting {
	switch {
	case controller == controlMemory && unified:
		return unifiedMemory(limits.Memory)
	case controller == controlMemory && limits.Memory > 0:
		most := strconv.FormatInt(limits.Memory, 10)
		return []setting{
			{file: "memory.limit_in_bytes", value: most},
			{file: "memory.memsw.limit_in_bytes", value: most, optional: true}, // not without swap accounting
		}
	case controller == controlCPU && limits.CPU > 0 && unified:
		return []setting{{file: "cpu.max", value: cpuQuota(limits.CPU) + " " + strconv.Itoa(cpuPeriod)}}
	case controller == controlCPU && limits.CPU > 0:
		return []setting{
			{file: "cpu.cfs_period_us", value: strconv.Itoa(cpuPeriod)},
			{file: "cpu.cfs_quota_us", value: cpuQuota(limits.CPU)},
		}
	default:
		return nil
	}
}

// unifiedMemory has a worker's tree die as one, whoever ran out: half of a
// session is of no use.
func unifiedMemory(limit int64) []setting {
	asOne := setting{file: "memory.oom.group", value: "1", optional: true} // Linux 4.19
	if limit <= 0 {
		return []setting{asOne}
	}
	return []setting{
		{file: "memory.max", value: strconv.FormatInt(limit, 10)},
		{file: "memory.swap.max", value: "0", optional: true}, // not without swap
		asOne,
	}
}

// cpuQuota is the time that a group may run in each period.
func cpuQuota(thousandths int64) string {
	const whole = 1000
	return strconv.FormatInt(max(thousandths*(cpuPeriod/whole), minCPUQuota), 10)
}

// wanted tells whether a worker with these limits needs a group of a controller
// of version 1, where each costs its start some time. Memory is for more than
// the limit: it tells a worker's own end from that of others.
func wanted(controller string, limits supervise.Limits) bool {
	switch controller {
	case controlCPU:
		return limits.CPU > 0
	case controlPids:
		return limits.Processes > 0
	default:
		return true
	}
}

// limitControllers are the controllers by which limits are kept that control
// groups are needed for, by the limits' JSON names.
func limitControllers() map[string]string {
	return map[string]string{"cpu": controlCPU, "memory": controlMemory, "processes": controlPids}
}
