//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stat is what /proc/PID/stat says about a process.
type stat struct {
	pid, parent int
	name        string
	state       byte // Z is a zombie
}

// parseStat parses a line of /proc/PID/stat. The name may hold anything,
// closing parentheses and blanks too, so it ends at the last one.
func parseStat(line []byte) (stat, error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || shut < open {
		return stat{}, fmt.Errorf("process status %.40q has no name", line)
	}
	rest := strings.Fields(string(line[shut+1:]))
	if len(rest) < 2 || len(rest[0]) != 1 {
		return stat{}, fmt.Errorf("process status %.40q is cut short", line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:open])))
	if err != nil {
		return stat{}, fmt.Errorf("process id: %w", err)
	}
	parent, err := strconv.Atoi(rest[1])
	if err != nil {
		return stat{}, fmt.Errorf("parent's process id: %w", err)
	}
	return stat{pid: pid, parent: parent, name: string(line[open+1 : shut]), state: rest[0][0]}, nil
}

// allProcesses lists what runs now. Processes that end meanwhile are left out.
func allProcesses() ([]stat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]stat, 0, len(paths))
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s, err := parseStat(line)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// descendants lists the children of pid, theirs, and so on, zombies included.
func descendants(pid int) ([]stat, error) {
	all, err := allProcesses()
	if err != nil {
		return nil, err
	}
	return descendantsAmong(all, pid), nil
}

func descendantsAmong(all []stat, pid int) []stat {
	var found []stat
	for _, s := range all {
		if s.parent == pid {
			found = append(found, s)
			found = append(found, descendantsAmong(all, s.pid)...)
		}
	}
	return found
}

// ticksPerSecond is the unit in which Linux tells programs about CPU time, on
// every architecture.
const ticksPerSecond = 100

// cpuSeconds is how much CPU time a process has used.
func cpuSeconds(pid int) (float64, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return parseCPU(line)
}

// parseCPU finds the user and the system time in a line of /proc/PID/stat: the
// 12th and 13th word after the name.
func parseCPU(line []byte) (float64, error) {
	rest := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	const user, system = 11, 12
	if len(rest) <= system {
		return 0, fmt.Errorf("process status %.40q is cut short", line)
	}
	var ticks float64
	for _, word := range []string{rest[user], rest[system]} {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		ticks += float64(n)
	}
	return ticks / ticksPerSecond, nil
}

// openFiles lists the descriptors that a process has: what each is open on, as
// the kernel names it.
func openFiles(pid int) ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	files := make([]string, 0, len(entries))
	for _, entry := range entries {
		file, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) { // closed meanwhile, or our own of ReadDir
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list descriptors: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}

// residentBytes is how much memory a process has in use.
func residentBytes(pid int) (float64, error) {
	kib, err := fieldKiB(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	return kib * 1024, err
}

// fieldKiB reads a field such as "VmRSS:  1234 kB".
func fieldKiB(path, field string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read memory use: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				break
			}
			return strconv.ParseFloat(words[0], 64)
		}
	}
	return 0, fmt.Errorf("%s has no field %s", path, field)
}

// kernelMemory is what the kernel's slabs and TCP buffers take, of all
// processes: only its growth over a quiet moment means something.
func kernelMemory() (slab, tcp float64, err error) {
	kib, err := fieldKiB("/proc/meminfo", "Slab:")
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, 0, fmt.Errorf("read socket statistics: %w", err)
	}
	pages, err := sockstatPages(string(text))
	return kib * 1024, pages * float64(os.Getpagesize()), err
}

// sockstatPages finds the number of pages in "TCP: inuse 5 … mem 3".
func sockstatPages(text string) (float64, error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if i := slices.Index(words, "mem"); i > 0 && words[0] == "TCP:" && i+1 < len(words) {
			return strconv.ParseFloat(words[i+1], 64)
		}
	}
	return 0, errors.New("socket statistics have no TCP memory")
}

// scrape reads a process's metrics: the value of each series by its name with
// its labels, as printed.
func scrape(ctx context.Context, addr string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s", addr, response.Status)
	}
	return parseMetrics(response.Body)
}

// parseMetrics parses the text format, without time stamps and exemplars, which
// are not asked for.
func parseMetrics(r io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 {
			return nil, fmt.Errorf("metrics: line %.60q has no value", line)
		}
		v, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: line %.60q: %w", line, err)
		}
		values[line[:cut]] = v
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return values, nil
}
