package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"rpcpool.dev/rpc"
)

var (
	networks = []string{"unix", "tcp"}
	sizes    = []struct {
		name  string
		bytes int
	}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}
	callers = []int{1, 8, 64}
)

func main() {
	if rpc.IsWorker() {
		exit(work())
	}
	if len(os.Args) == 5 && os.Args[1] == "serve" {
		exit(serve(os.Args[2], os.Args[3], os.Args[4]))
	}
	rounds := flag.Int("rounds", 7, "rounds of each row; the median counts")
	each := flag.Duration("time", 150*time.Millisecond, "time of a round")
	names := flag.String("peers", "", "peers, by comma (default all)")
	only := flag.String("only", "", "only rows that contain this, such as unix/64B/1")
	profile := flag.String("cpuprofile", "", "write the client's profile to this file")
	flag.Parse()
	list, err := chosen(*names)
	if err != nil {
		exit(err)
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			exit(err)
		}
		_ = pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	for _, network := range networks {
		if err := rows(list, network, *only, *rounds, *each); err != nil {
			exit(err)
		}
		if err := latencies(list, network, *only, *rounds, *each); err != nil {
			exit(err)
		}
	}
}

// rows are the table of sizes and callers.
func rows(list []peer, network, only string, rounds int, each time.Duration) error {
	for _, size := range sizes {
		for _, n := range callers {
			name := fmt.Sprintf("%s/%s/%d", network, size.name, n)
			if !strings.Contains(name+"/", only) {
				continue
			}
			if err := row(name, list, network, size.bytes, n, rounds, each); err != nil {
				return err
			}
		}
	}
	return nil
}

// latencies are what no throughput shows.
func latencies(list []peer, network, only string, rounds int, each time.Duration) error {
	if strings.Contains(network+"/mixed/", only) {
		if err := mixed(list, network, rounds, each); err != nil {
			return err
		}
	}
	if strings.Contains(network+"/failover/", only) {
		if err := failover(network, rounds); err != nil {
			return err
		}
	}
	if strings.Contains(network+"/fixed/", only) {
		for _, rate := range []int{2000, 20000} {
			if err := fixed(list, network, rate, rounds, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// row measures all peers in one case, in turns, and prints their medians.
func row(name string, list []peer, network string, size, callers, rounds int, each time.Duration) error {
	dir, err := os.MkdirTemp("", "bench-rpc")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	type running struct {
		peer
		server *child
		client client
		rounds []round
	}
	var all []*running
	for i, p := range list {
		addr := "127.0.0.1:0"
		if network == "unix" {
			addr = filepath.Join(dir, fmt.Sprint(i))
		}
		s, err := startServer(p, network, addr)
		if err != nil {
			return err
		}
		defer s.stop()
		c, err := p.dial(network, s.addr, callers)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer func() { _ = c.close() }()
		all = append(all, &running{p, s, c, nil})
	}
	for range rounds {
		for _, r := range all {
			m, err := measure(r.client, r.server, size, callers, each)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			r.rounds = append(r.rounds, m)
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tµs/call\tof %s\tp50 µs\tp99 µs\tcpu µs\tallocs\tMB/s\t\n", name, all[0].name)
	base := median(all[0].rounds, func(r round) time.Duration { return r.each })
	for _, r := range all {
		call := median(r.rounds, func(r round) time.Duration { return r.each })
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.1f\t%.1f\t%.2f\t%.1f\t%.0f\t\n", r.name, us(call), float64(call)/float64(base),
			us(median(r.rounds, func(r round) time.Duration { return r.p50 })), us(median(r.rounds, func(r round) time.Duration { return r.p99 })),
			us(median(r.rounds, func(r round) time.Duration { return r.cpu })), median(r.rounds, func(r round) float64 { return r.allocs }),
			2*float64(size)/call.Seconds()/1e6)
	}
	return t.Flush()
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
