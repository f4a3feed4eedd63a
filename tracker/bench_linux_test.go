package tracker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
)

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

var (
	benchRequest = tvm.AppendMessage(nil, tvm.Request{Key: "rasp", Priority: 1})
	benchPut     = tvm.AppendMessage(nil, tvm.Put{Key: "rasp", Port: tvm.PortNumber(9090), MatchKey: "rasp:0.5951228182607278"})
	benchGrant   = tvm.AppendMessage(nil, grantMessage{tvm.Grant{Host: "127.0.0.1", Port: tvm.PortNumber(9090), MatchKey: "rasp:0.5951228182607278"}})
	benchStatus  = []byte{1, 0, 0, 0, '0'}
)

type grantMessage struct{ tvm.Grant }

func (grantMessage) Code() tvm.Code { return tvm.CodeSuccess }

// roundTrip writes once and reads a reply of known length.
func roundTrip(b testing.TB, nc net.Conn, send []byte, reply []byte) {
	if _, err := nc.Write(send); err != nil {
		b.Fatal(err)
	}
	readReply(b, nc, reply)
}

func readReply(b testing.TB, nc net.Conn, reply []byte) {
	if _, err := io.ReadFull(nc, reply); err != nil {
		b.Fatal(err)
	}
}

// startFloor answers frames of one size by frames of another, and does nothing
// else: the least that a round trip can cost.
func startFloor(b testing.TB, size int, answer []byte) net.Conn {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		in := make([]byte, size)
		for {
			if _, err := io.ReadFull(nc, in); err != nil {
				return
			}
			if _, err := nc.Write(answer); err != nil {
				return
			}
		}
	})
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = nc.Close()
		_ = l.Close()
		running.Wait()
	})
	return nc
}

// grantTimes measures round trips of a REQUEST to a tracker that has a free
// device, and of the floor, in turns.
func grantTimes(b testing.TB, h *harness, n int) (grants, floor []time.Duration) {
	b.Helper()
	client, server := h.join(), h.join()
	raw := startFloor(b, len(benchRequest), benchGrant)
	reply, status := make([]byte, len(benchGrant)), make([]byte, len(benchStatus))
	_ = client.nc.SetReadDeadline(time.Time{})
	_ = server.nc.SetReadDeadline(time.Time{})
	for range n {
		roundTrip(b, server.nc, benchPut, status)
		begin := time.Now()
		roundTrip(b, client.nc, benchRequest, reply)
		grants = append(grants, time.Since(begin))
		begin = time.Now()
		roundTrip(b, raw, benchRequest, reply)
		floor = append(floor, time.Since(begin))
	}
	client.close()
	server.close()
	return grants, floor
}

// BenchmarkRequestGrant: a REQUEST while a device is free, over loopback.
func BenchmarkRequestGrant(b *testing.B) {
	h := start(b, Options{})
	b.ResetTimer()
	grants, floor := grantTimes(b, h, b.N)
	reportGrants(b, "", grants)
	b.ReportMetric(micros(percentile(floor, 50)), "floor-p50-µs")
	b.ReportMetric(micros(percentile(grants, 50))/micros(percentile(floor, 50)), "×floor-p50")
}

func reportGrants(b *testing.B, prefix string, grants []time.Duration) {
	b.ReportMetric(micros(percentile(grants, 50)), prefix+"p50-µs")
	b.ReportMetric(micros(percentile(grants, 99)), prefix+"p99-µs")
}

// BenchmarkPutGrant: from a server's PUT to the grant at a client that waits.
func BenchmarkPutGrant(b *testing.B) {
	h := start(b, Options{})
	client, server := h.join(), h.join()
	reply, status := make([]byte, len(benchGrant)), make([]byte, len(benchStatus))
	_ = client.nc.SetReadDeadline(time.Time{})
	_ = server.nc.SetReadDeadline(time.Time{})
	ping := tvm.AppendMessage(append([]byte{}, benchRequest...), tvm.Ping{})
	b.ResetTimer()
	var times []time.Duration
	for range b.N {
		roundTrip(b, client.nc, ping, status) // the request is queued
		begin := time.Now()
		if _, err := server.nc.Write(benchPut); err != nil {
			b.Fatal(err)
		}
		readReply(b, client.nc, reply)
		times = append(times, time.Since(begin))
		readReply(b, server.nc, status)
	}
	reportGrants(b, "", times)
}

// BenchmarkCycles: 200 servers offer, 64 clients request, all as fast as they
// can; a cycle is PUT, its reply, REQUEST and grant. The load shares the cores
// with the tracker.
func BenchmarkCycles(b *testing.B) {
	const servers, clients = 200, 64
	h := start(b, Options{})
	used := make([]chan struct{}, servers)
	ended := make(chan struct{})
	var running sync.WaitGroup
	for i := range servers {
		used[i] = make(chan struct{}, 1)
		w := h.join()
		_ = w.nc.SetReadDeadline(time.Time{})
		running.Go(func() { offerForEver(b, w.nc, i, used[i], ended) })
	}
	b.ResetTimer()
	begin, cpu := time.Now(), cpuTime(b)
	var requesting sync.WaitGroup
	for i := range clients {
		w := h.join()
		_ = w.nc.SetReadDeadline(time.Time{})
		n := b.N / clients
		if i < b.N%clients {
			n++
		}
		requesting.Go(func() { requestTimes(b, w.nc, n, used) })
	}
	requesting.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "cycles/s")
	b.ReportMetric(micros(cpuTime(b)-cpu)/float64(b.N), "cpu-µs/cycle")
	b.StopTimer()
	close(ended)
	running.Wait()
}

// cpuTime is what this process has used, tracker and load. On a machine that is
// shared it says more than the time that went by.
func cpuTime(b testing.TB) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func offerForEver(b *testing.B, nc net.Conn, id int, used, ended <-chan struct{}) {
	put := tvm.AppendMessage(nil, tvm.Put{Key: "rasp", Port: tvm.PortNumber(9090), MatchKey: fmt.Sprintf("rasp:%03d", id)})
	status := make([]byte, len(benchStatus))
	for {
		if _, err := nc.Write(put); err != nil {
			b.Error(err)
			return
		}
		if _, err := io.ReadFull(nc, status); err != nil {
			b.Error(err)
			return
		}
		select {
		case <-used:
		case <-ended:
			return
		}
	}
}

func requestTimes(b *testing.B, nc net.Conn, n int, used []chan struct{}) {
	grant := make([]byte, len(tvm.AppendMessage(nil, grantMessage{tvm.Grant{Host: "127.0.0.1", Port: tvm.PortNumber(9090), MatchKey: "rasp:000"}})))
	for range n {
		if _, err := nc.Write(benchRequest); err != nil {
			b.Error(err)
			return
		}
		if _, err := io.ReadFull(nc, grant); err != nil {
			b.Error(err)
			return
		}
		_, id, _ := bytes.Cut(grant, []byte("rasp:"))
		server, err := strconv.Atoi(string(id[:3]))
		if err != nil {
			b.Error(err)
			return
		}
		used[server] <- struct{}{}
	}
}

// BenchmarkIdleServers: what 10,000 registered servers that do nothing cost,
// and what they do to the round trip of the others. They live in a process of
// their own, so that this one's memory is the tracker's.
func BenchmarkIdleServers(b *testing.B) {
	const servers = 10_000
	h := start(b, Options{})
	before, _ := grantTimes(b, h, b.N)
	heap, rss := memory(b)
	stop := playIdle(b, h.addr, servers)
	h.wantConns(servers)
	heapAfter, rssAfter := memory(b)
	after, floor := grantTimes(b, h, b.N)
	reportGrants(b, "alone-", before)
	reportGrants(b, "beside-", after)
	b.ReportMetric(micros(percentile(after, 99))/micros(percentile(before, 99)), "×alone-p99")
	b.ReportMetric(micros(percentile(after, 50))/micros(percentile(floor, 50)), "×floor-p50")
	b.ReportMetric(float64(heapAfter-heap)/servers, "go-B/server")
	b.ReportMetric(float64(rssAfter-rss)/servers, "rss-B/server")
	stop()
	h.wantConns(0)
}

// memory returns what the Go runtime has in use and what is resident, in bytes.
func memory(b testing.TB) (inUse, resident int64) {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc/self/statm here")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	inUse = int64(m.HeapInuse + m.StackInuse + m.MSpanInuse + m.MCacheInuse + m.OtherSys + m.GCSys)
	return inUse, pages * int64(os.Getpagesize())
}

const benchRole = "RPCPOOL_TRACKER_BENCH_ROLE"

// playIdle starts a process that registers so many servers and keeps them. It
// returns when they are all registered.
func playIdle(b testing.TB, addr string, servers int) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", benchRole, addr, servers))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait()
	}
	b.Cleanup(stop)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "registered\n" {
		b.Fatalf("the process of idle servers says %q: %v", line, err)
	}
	return stop
}

// playOtherProcess does not return in a process that [playIdle] has started.
func playOtherProcess() {
	if role := os.Getenv(benchRole); role != "" {
		os.Exit(playRole(role))
	}
}

func playRole(role string) int {
	var addr string
	var servers int
	if _, err := fmt.Sscan(role, &addr, &servers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var kept []net.Conn
	for i := range servers {
		nc, err := registerAndStay(addr, i)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		kept = append(kept, nc)
	}
	fmt.Println("registered")
	time.Sleep(time.Hour) // until it is killed
	runtime.KeepAlive(kept)
	return 0
}
