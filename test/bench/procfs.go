//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"rpcpool.dev/test/internal/proc"
)

// kernelMemory is what the kernel's slabs and TCP buffers take, of all
// processes: only its growth over a quiet moment means something.
func kernelMemory() (slab, tcp float64, err error) {
	kib, err := proc.FieldKiB("/proc/meminfo", "Slab:")
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
