package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// benchAgent builds the real agent, because its start is part of every
// worker's, and runs it. The workers are /bin/sh: as light as programs get.
func benchAgent(b *testing.B, args ...string) *sidecar {
	b.Helper()
	dir := b.TempDir()
	program := filepath.Join(dir, "rpcpool-agent")
	build := exec.Command("go", "build", "-o", program, "rpcpool.dev/cmd/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	socket := filepath.Join(dir, "agent.sock")
	agent := exec.Command(program, append([]string{"--socket", socket, "--work-root", filepath.Join(dir, "work")}, args...)...)
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = agent.Process.Signal(os.Interrupt)
		_ = agent.Wait()
	})
	return connect(b, socket)
}

const (
	// coldScript says at once that it runs, and ends when the client says so.
	coldScript = `echo >&3; read x <&3`
	sleeper    = `trap "" TERM; echo >&3; while :; do sleep 1000; done`
)

func bothWays(b *testing.B, bench func(b *testing.B, s *sidecar)) {
	b.Run("cgroup=auto", func(b *testing.B) { bench(b, benchAgent(b)) })
	b.Run("cgroup=no", func(b *testing.B) { bench(b, benchAgent(b, "--no-cgroup")) })
}

// BenchmarkFloor is the cost of a bare fork, exec and wait on this machine, to
// which the others are to be compared.
func BenchmarkFloor(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdStart is from the start command to the first byte that the
// worker writes to its session.
func BenchmarkColdStart(b *testing.B) {
	bothWays(b, func(b *testing.B, s *sidecar) {
		for i := 0; b.Loop(); i++ {
			client := s.cold("w", testStart("/bin/sh", "-c", coldScript), 0)
			expect(b, client, "\n")
			b.StopTimer()
			_ = client.Close()
			s.await(supervise.EventExited, "w")
			s.seen = nil
			b.StartTimer()
		}
	})
}

// BenchmarkExit is from a worker's end, of its own will, to the agent's word
// that its tree and directory are gone; BenchmarkKill is from a kill command.
func BenchmarkExit(b *testing.B) {
	bothWays(b, func(b *testing.B, s *sidecar) {
		for b.Loop() {
			b.StopTimer()
			client := s.cold("w", testStart("/bin/sh", "-c", coldScript), 0)
			expect(b, client, "\n")
			b.StartTimer()
			_ = client.Close()
			s.await(supervise.EventExited, "w")
			s.seen = nil
		}
	})
}

// BenchmarkKill kills a worker that ignores SIGTERM and has a child.
func BenchmarkKill(b *testing.B) {
	bothWays(b, func(b *testing.B, s *sidecar) {
		for b.Loop() {
			b.StopTimer()
			client := s.cold("w", testStart("/bin/sh", "-c", sleeper), 0)
			expect(b, client, "\n")
			b.StartTimer()
			s.kill("w", supervise.CauseClientGone, 0)
			s.await(supervise.EventExited, "w")
			b.StopTimer()
			_ = client.Close()
			s.seen = nil
			b.StartTimer()
		}
	})
}

// BenchmarkWarmHandOver is from the session command to the first byte that a
// spare writes to its session. The spare is this test binary.
func BenchmarkWarmHandOver(b *testing.B) {
	s := benchAgent(b)
	f := &fixture{t: b, exe: executablePath(b), sidecar: s}
	for b.Loop() {
		b.StopTimer()
		f.warm("w", f.behaviour("warm", "on-term", "0"))
		f.await(supervise.EventReady, "w")
		b.StartTimer()
		client := f.give("w", 0)
		expect(b, client, "up")
		b.StopTimer()
		f.kill("w", supervise.CauseKilledDrain, 0)
		f.await(supervise.EventExited, "w")
		_ = client.Close()
		f.seen = nil
		b.StartTimer()
	}
}

// BenchmarkDeadline reports by how much deadlines are missed: the time from the
// deadline to the end of a worker that has no grace.
func BenchmarkDeadline(b *testing.B) {
	s := benchAgent(b)
	const timeout = 20 * time.Millisecond
	var late time.Duration
	for b.Loop() {
		start := testStart("/bin/sh", "-c", sleeper)
		start.KillGrace = 0
		client := s.cold("w", start, timeout)
		e := s.await(supervise.EventExited, "w")
		late += e.Report.Wall - timeout
		_ = client.Close()
		s.seen = nil
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "µs-late/op")
}
