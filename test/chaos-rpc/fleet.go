//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/internal/faultproxy"
)

// fleet is all processes and proxies.
type fleet struct {
	*settings
	dir     string
	servers []*process
	clients []*process
	proxies [][]*faultproxy.Proxy // by client and server
	hits    map[string]int
	frozen  []frozen
	fresh   []int // how often each server has lost its journal
	later   sync.WaitGroup
}

// run makes the history.
func (f *fleet) run(ctx context.Context) (*history, map[string]int, error) {
	f.hits, f.fresh = map[string]int{}, make([]int, f.settings.servers)
	defer f.close()
	if err := f.start(); err != nil {
		return nil, nil, err
	}
	rng := rand.New(rand.NewPCG(f.seed, 0)) //nolint:gosec // it is replayed from the seed
	for end := time.Now().Add(f.limit); f.made() < f.calls && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(time.Duration(10+rng.IntN(120)) * time.Millisecond)
		if err := f.hit(rng); err != nil {
			return nil, nil, err
		}
	}
	if err := f.finish(); err != nil {
		return nil, nil, err
	}
	return f.history()
}

func (f *fleet) truth(of string) string { return filepath.Join(f.dir, of) }

func (f *fleet) start() error {
	for i := range f.settings.servers {
		name := strconv.Itoa(i)
		p := &process{name: "server " + name, args: func() []string {
			return []string{"serve", name, f.truth(fmt.Sprintf("journal-%s-%d", name, f.fresh[i])), f.truth("runs")}
		}}
		f.servers = append(f.servers, p)
		if err := p.start(); err != nil {
			return err
		}
	}
	for i := range f.settings.clients {
		var proxies []*faultproxy.Proxy
		var addrs []string
		for _, s := range f.servers {
			proxy, err := faultproxy.New(s.said)
			if err != nil {
				return err
			}
			proxies, addrs = append(proxies, proxy), append(addrs, proxy.Addr())
		}
		f.proxies = append(f.proxies, proxies)
		p := &process{name: fmt.Sprint("client ", i)}
		p.args = func() []string {
			seed := strconv.FormatUint(f.seed+uint64(1000*i+p.lives), 10)
			return append([]string{"demand", fmt.Sprintf("%d.%d", i, p.lives), seed, strconv.Itoa(f.workers), f.truth("outcomes")}, addrs...)
		}
		f.clients = append(f.clients, p)
		if err := p.start(); err != nil {
			return err
		}
	}
	return nil
}

// made is how many calls were made.
func (f *fleet) made() (n int) {
	for _, c := range f.clients {
		n += c.count()
	}
	return n
}

// after does something later, to be waited for before the end.
func (f *fleet) after(d time.Duration, do func()) {
	f.later.Go(func() {
		time.Sleep(d)
		do()
	})
}

// hit does one thing to somebody.
func (f *fleet) hit(rng *rand.Rand) error {
	ms := func(least, most int) time.Duration {
		return time.Duration(least+rng.IntN(most-least)) * time.Millisecond
	}
	i := rng.IntN(len(f.servers))
	server, client := f.servers[i], rng.IntN(len(f.clients))
	proxy := f.proxies[client][i]
	if isolates(strconv.Itoa(i)) && rng.IntN(2) == 0 {
		f.hitWorker(strconv.Itoa(i), server, rng)
		return nil
	}
	switch n := rng.IntN(100); {
	case n < 5:
		f.hits["server stopped in order"]++
		server.stop(ms(100, 2500))
		time.Sleep(ms(0, 60))
		return server.start()
	case n < 12:
		f.hits["server killed"]++
		if rng.IntN(10) == 0 {
			f.hits["journal lost"]++
			f.fresh[i]++
		}
		server.kill()
		time.Sleep(ms(0, 60))
		return server.start()
	case n < 20:
		f.hits["server frozen"]++
		from := now()
		server.signal(syscall.SIGSTOP)
		time.Sleep(ms(1, 900))
		server.signal(syscall.SIGCONT)
		f.frozen = append(f.frozen, frozen{strconv.Itoa(i), from, now()})
	case n < 22:
		f.hits["client killed"]++
		f.clients[client].kill()
		return f.clients[client].start()
	case n < 25:
		f.hits["client frozen"]++
		f.clients[client].signal(syscall.SIGSTOP)
		time.Sleep(ms(1, 600))
		f.clients[client].signal(syscall.SIGCONT)
	default:
		f.hitNetwork(proxy, n, rng)
	}
	return nil
}

// hitWorker does something to a worker of a server, if it has one just now.
func (f *fleet) hitWorker(name string, server *process, rng *rand.Rand) {
	all := server.children()
	if len(all) == 0 {
		return
	}
	pid := all[rng.IntN(len(all))]
	if rng.IntN(2) == 0 {
		f.hits["worker killed"]++
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return
	}
	f.hits["worker frozen"]++
	from := now()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	time.Sleep(pause(rng, 1, 600))
	_ = syscall.Kill(pid, syscall.SIGCONT)
	f.frozen = append(f.frozen, frozen{name, from, now()})
}

// hitNetwork does one thing to the connections between two. n is 25 to 99.
func (f *fleet) hitNetwork(proxy *faultproxy.Proxy, n int, rng *rand.Rand) {
	ms := func(least, most int) time.Duration { return pause(rng, least, most) }
	switch {
	case n < 40:
		f.hits["connections cut"]++
		proxy.Cut()
	case n < 55:
		f.hits["connections reset"]++
		proxy.Reset()
	case n < 65:
		f.hits["black hole"]++
		proxy.Freeze()
		f.after(ms(1, 1500), proxy.Thaw)
	case n < 75:
		f.hits["black hole, then reset"]++
		proxy.Freeze()
		f.after(ms(1, 300), func() { proxy.Reset(); proxy.Thaw() })
	case n < 83:
		f.hits["slow network"]++
		proxy.Delay(ms(1, 20))
		f.after(ms(100, 800), func() { proxy.Delay(0) })
	case n < 90:
		f.hits["connections refused"]++
		proxy.Refuse(true)
		proxy.Reset()
		f.after(ms(10, 600), func() { proxy.Refuse(false) })
	default:
		f.hits["cut after some bytes"]++
		d := faultproxy.Direction(rng.IntN(2))
		proxy.CutAfter(d, int64(rng.IntN(4000)))
		proxy.Cut()
		f.after(ms(50, 400), func() { proxy.CutAfter(d, -1) })
	}
}

// pause is a time of so many milliseconds.
func pause(rng *rand.Rand, least, most int) time.Duration {
	return time.Duration(least+rng.IntN(most-least)) * time.Millisecond
}

// finish lets everybody end.
func (f *fleet) finish() error {
	f.later.Wait()
	var errs []error
	for _, c := range f.clients {
		errs = append(errs, c.finish(40*time.Second))
	}
	time.Sleep(time.Second) // for what runs although nobody waits for it
	for _, s := range f.servers {
		errs = append(errs, s.finish(10*time.Second))
	}
	return errors.Join(errs...)
}

// close ends what is left.
func (f *fleet) close() {
	f.later.Wait()
	for _, p := range append(f.clients, f.servers...) {
		if p.cmd != nil {
			p.signal(syscall.SIGKILL)
			<-p.gone
		}
	}
	for _, proxies := range f.proxies {
		for _, p := range proxies {
			_ = p.Close()
		}
	}
}

func (f *fleet) history() (*history, map[string]int, error) {
	outcomes, err := readOutcomes(f.truth("outcomes"))
	if err != nil {
		return nil, nil, err
	}
	groups, err := readGroups(f.truth("outcomes") + groupsOf)
	if err != nil {
		return nil, nil, err
	}
	runs, err := readRuns(f.truth("runs"))
	return &history{outcomes: outcomes, groups: groups, runs: runs, frozen: f.frozen, slack: f.slack}, f.hits, err
}
