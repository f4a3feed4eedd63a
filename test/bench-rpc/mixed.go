package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

const (
	smallSize   = 64
	bigSize     = 1 << 20
	bulkCallers = 2
)

// mixed measures small calls of one caller, alone and while others echo big bodies over the
// same client, in turns, and prints how much slower they become.
func mixed(list []peer, network string, rounds int, each time.Duration) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s/small beside bulk\tidle p50 µs\tidle p99 µs\tp50 µs\tp99 µs\tp99 of idle\tbulk MB/s\t\n", network)
	for _, p := range list {
		var idle, busy []load
		err := withServer(p, network, bulkCallers+1, func(c client) error {
			for range rounds {
				a, err := small(c, 0, each)
				if err != nil {
					return err
				}
				b, err := small(c, bulkCallers, each)
				if err != nil {
					return err
				}
				idle, busy = append(idle, a), append(busy, b)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		quiet, loud := p99(idle), p99(busy)
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.0f\t\n", p.name, us(p50(idle)), us(quiet), us(p50(busy)), us(loud), float64(loud)/float64(quiet), mean(busy))
	}
	return t.Flush()
}

// load is what one round came to.
type load struct {
	p50, p99 time.Duration
	bulk     float64 // MB/s, both ways
}

func p50(l []load) time.Duration { return middle(l, func(l load) time.Duration { return l.p50 }) }
func p99(l []load) time.Duration { return middle(l, func(l load) time.Duration { return l.p99 }) }

func middle(l []load, of func(load) time.Duration) time.Duration {
	all := make([]time.Duration, len(l))
	for i := range l {
		all[i] = of(l[i])
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func mean(l []load) float64 {
	sum := 0.0
	for _, x := range l {
		sum += x.bulk
	}
	return sum / float64(len(l))
}

// small calls for a while as the last caller, beside so many who echo big bodies.
func small(c client, bulk int, d time.Duration) (load, error) {
	var stop atomic.Bool
	var bytes atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, bulk)
	for i := range bulk {
		wg.Go(func() {
			in := make([]byte, bigSize)
			for !stop.Load() {
				if _, err := c.call(i, in); err != nil {
					failed <- err
					return
				}
				bytes.Add(2 * bigSize)
			}
		})
	}
	in := make([]byte, smallSize)
	var took []time.Duration
	var err error
	start := time.Now()
	for last := start; last.Sub(start) < d && err == nil; {
		_, err = c.call(bulkCallers, in)
		now := time.Now()
		took = append(took, now.Sub(last))
		last = now
	}
	wall := time.Since(start)
	stop.Store(true)
	wg.Wait()
	select {
	case err = <-failed:
	default:
	}
	slices.Sort(took)
	return load{took[len(took)/2], took[len(took)*99/100], float64(bytes.Load()) / wall.Seconds() / 1e6}, err
}

// fixed measures latency at a fixed rate of calls: each is counted from when it was due, so
// that a peer that stops for a while pays for all that it holds up.
func fixed(list []peer, network string, perSecond, rounds int, each time.Duration) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s/64B at %d calls/s\tp50 µs\tp99 µs\tp99.9 µs\tlate calls\t\n", network, perSecond)
	for _, p := range list {
		var all []time.Duration
		late := 0
		err := withServer(p, network, places, func(c client) error {
			for range rounds {
				took, n, err := paced(c, perSecond, each)
				if err != nil {
					return err
				}
				all, late = append(all, took...), late+n
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		slices.Sort(all)
		n := len(all)
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%d of %d\t\n", p.name, us(all[n/2]), us(all[n*99/100]), us(all[n*999/1000]), late, n)
	}
	return t.Flush()
}

// paced makes calls at a rate, each by whichever caller is free. late counts those that had to
// wait for one.
func paced(c client, perSecond int, d time.Duration) (took []time.Duration, late int, err error) {
	n := int(d.Seconds() * float64(perSecond))
	took = make([]time.Duration, n)
	free := make(chan int, places)
	for i := range places {
		free <- i
	}
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	start := time.Now()
	for k := range n {
		due := start.Add(time.Duration(k) * time.Second / time.Duration(perSecond))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		var i int
		select {
		case i = <-free:
		default:
			late++
			i = <-free
		}
		wg.Go(func() {
			if _, err := c.call(i, make([]byte, smallSize)); err != nil {
				failed.Store(&err)
			}
			took[k] = time.Since(due)
			free <- i
		})
	}
	wg.Wait()
	if e := failed.Load(); e != nil {
		err = *e
	}
	return took, late, err
}

// withServer runs f with a client of a peer's server.
func withServer(p peer, network string, callers int, f func(client) error) error {
	dir, err := os.MkdirTemp("", "bench-rpc")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = dir + "/s"
	}
	s, err := startServer(p, network, addr)
	if err != nil {
		return err
	}
	defer s.stop()
	c, err := p.dial(network, s.addr, callers)
	if err != nil {
		return err
	}
	defer func() { _ = c.close() }()
	return f(c)
}
