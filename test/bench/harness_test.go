//go:build linux

package main

import (
	"bytes"
	"context"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// serveInTest serves on loopback until the test ends.
func serveInTest(t *testing.T, serve func(context.Context, net.Listener) error) (addr string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return listener.Addr().String()
}

func trackerInTest(t *testing.T) (addr string) {
	t.Helper()
	return serveInTest(t, tracker.NewServer(tracker.Options{}).Serve)
}

func TestFloorAnswersMessagesOfAnyLength(t *testing.T) {
	addr := serveInTest(t, serveFloor)
	p, err := dialPeer(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for _, out := range []int{floorHeader, 7, floorBuffer - 1, floorBuffer, floorBuffer + 1, 5000} {
		for _, in := range []int{1, 5, floorBuffer, 9000} {
			answer, err := p.exchange(floorMessage(out, in), in)
			if err != nil || len(answer) != in {
				t.Fatalf("%d bytes were answered by %d, %v, want %d", out, len(answer), err, in)
			}
		}
	}
}

func TestFloorAnswersPipelinedMessages(t *testing.T) {
	addr := serveInTest(t, serveFloor)
	p, err := dialPeer(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	answer, err := p.exchange(slices.Concat(floorMessage(23, 46), floorMessage(600, 5), floorMessage(7, 1)), 52)
	if err != nil || len(answer) != 52 {
		t.Errorf("three messages were answered by %d bytes, %v, want 52", len(answer), err)
	}
}

func TestFloorAnswersLater(t *testing.T) {
	addr := serveInTest(t, serveFloor)
	p, err := dialPeer(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	began := time.Now()
	if _, err := p.exchange(floorLater(64, 64, 30*time.Millisecond), 64); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("answered after %v, asked for 30 ms", took)
	}
}

func TestPeerRefusesWhatIsNotAsked(t *testing.T) {
	addr := serveInTest(t, serveFloor)
	p, err := dialPeer(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if _, err := p.exchange(floorMessage(10, 10), 9); err == nil {
		t.Error("ten bytes are taken for an answer of nine")
	}
	stranger := serveInTest(t, func(_ context.Context, l net.Listener) error {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("HTTP"))
		return err
	})
	if _, err := dialTracker(t.Context(), stranger); err == nil {
		t.Error("whoever answers is taken for a tracker")
	}
}

func TestScriptedServerAndClientAgainstATracker(t *testing.T) {
	addr := trackerInTest(t)
	b := &grantBench{request: requestFrame(benchKey)}
	var err error
	if b.server, err = dialServer(t.Context(), addr, benchKey); err != nil {
		t.Fatal(err)
	}
	defer b.server.close()
	if b.client, err = dialTracker(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	defer b.client.close()
	if b.grantLength, err = b.measureGrant(); err != nil {
		t.Fatal(err)
	}
	for name, step := range map[string]func() (time.Duration, error){"device free": b.free, "client waiting": b.waiting} {
		for range 20 {
			if took, err := step(); err != nil || took <= 0 {
				t.Fatalf("%s: %v, %v", name, took, err)
			}
		}
	}
	b.server.n++ // now the next grant is for another ticket than the one offered
	frame := tvm.AppendFrame(nil, tvm.Grant{Host: "h", Port: []byte("1"), MatchKey: "other:1"}.AppendPayload(nil))
	if b.isOurs(frame) == nil {
		t.Error("a grant of another's ticket is taken for ours")
	}
}

// A round must give every device back, however it is cut off.
func TestCycleLoadGivesEveryDeviceBack(t *testing.T) {
	const servers, clients = 20, 8
	addr, floor := trackerInTest(t), serveInTest(t, serveFloor)
	for _, depth := range []int{1, 5} {
		ours, err := newTrackerLoad(addr, servers, clients, depth)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := newFloorLoad(floor, servers, clients, ours)
		if err != nil {
			t.Fatal(err)
		}
		for name, load := range map[string]*cycleLoad{"tracker": ours, "floor": raw} {
			for range 3 {
				rate, err := load.round(t.Context(), 20*time.Millisecond)
				if err != nil || rate <= 0 || load.swarm.pending != 0 {
					t.Fatalf("%s, depth %d: %v a second, %d pending, %v", name, depth, rate, load.swarm.pending, err)
				}
			}
		}
		if got := freeDevices(t, addr); got != servers {
			t.Errorf("depth %d: %d devices are free after the rounds, want %d", depth, got, servers)
		}
		ours.swarm.close()
		raw.swarm.close()
		eventually(t, "the tracker has forgotten the servers", func() bool { return freeDevices(t, addr) == 0 })
	}
}

func freeDevices(t *testing.T, addr string) int {
	t.Helper()
	c, err := tracker.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	summary, err := c.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return summary.Queue[benchKey].Free
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if !waitUntil(t.Context(), 10*time.Second, condition) {
		t.Fatalf("not in time: %s", what)
	}
}

func TestIdleServersPollInTurns(t *testing.T) {
	addr := trackerInTest(t)
	idle, err := registerIdle(addr, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.close()
	polled := map[int]int{}
	over := make(chan struct{})
	for _, m := range idle.members {
		inner := m.got
		m.got = func(m *member, answer []byte) error {
			if polled[m.index]++; len(polled) == 50 && polled[m.index] == 1 {
				close(over)
			}
			return inner(m, answer)
		}
	}
	if err := pollAll(t.Context(), idle, over); err != nil {
		t.Fatal(err)
	}
	if idle.pending != 0 {
		t.Errorf("%d polls are unanswered", idle.pending)
	}
}

func TestServerOfAGrant(t *testing.T) {
	servers := []*member{{index: 0}, {index: 1}}
	grant := func(matchKey string) []byte {
		return tvm.AppendFrame(nil, tvm.Grant{Host: "127.0.0.1", Port: []byte("9090"), MatchKey: matchKey}.AppendPayload(nil))
	}
	if m, err := serverOf(grant(cycleTicket(1, 77)), servers); err != nil || m.index != 1 {
		t.Errorf("server of a ticket is %v, %v", m, err)
	}
	for _, foreign := range []string{cycleTicket(2, 0), "bench:xyz", "no colon", "bench:"} {
		if _, err := serverOf(grant(foreign), servers); err == nil {
			t.Errorf("ticket %q has a server", foreign)
		}
	}
}

func TestStormRegistersEverybody(t *testing.T) {
	s := &stormScenario{servers: 40}
	addr := trackerInTest(t)
	for _, send := range []func(*net.TCPConn, []byte) error{sendWhole, sendLikeStock} {
		if _, err := s.round(t.Context(), addr, registerStep(send), true); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.round(t.Context(), serveInTest(t, serveFloor), rawStep, false); err != nil {
		t.Error(err)
	}
}

func TestSilentConnectionsAreCounted(t *testing.T) {
	addr := trackerInTest(t)
	conns, err := dialSilent(t.Context(), addr, 6, [][]byte{nil, []byte("not the magic")})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(conns)
	eventually(t, "three of six were not silent, but wrong", func() bool { return stillOpen(conns) == 3 })
}

func TestProcessesAreStartedAwaitedAndStopped(t *testing.T) {
	dir := t.TempDir()
	p, err := startProcess(dir, "good", "/bin/sh", "-c", `echo "good on 127.0.0.1:99"; echo waiting >&2; exec sleep 60`)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := p.await(t.Context(), p.stdout, serviceLine)
	if err != nil || addr != "127.0.0.1:99" {
		t.Errorf("address is %q, %v", addr, err)
	}
	if !p.alive() || !strings.Contains(p.state(), strconv.Itoa(p.pid())) {
		t.Errorf("a program that runs %s", p.state())
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if syscall.Kill(p.pid(), 0) == nil {
		t.Error("a program that was stopped still runs")
	}
}

func TestProcessThatDiesIsReportedWithItsLastWords(t *testing.T) {
	p, err := startProcess(t.TempDir(), "bad", "/bin/sh", "-c", "echo out of luck >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.await(t.Context(), p.stdout, regexp.MustCompile(`on (\S+)`))
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("awaiting it gives %v", err)
	}
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("stopping it gives %v", err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, proc.CLI), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	missing, err := proc.MissingPrograms(dir)
	slices.Sort(missing)
	if err != nil || !slices.Equal(missing, []string{proc.Agent, proc.Sidecar, proc.Worker}) {
		t.Errorf("missing are %v, %v", missing, err)
	}
	if err := os.Chmod(filepath.Join(dir, proc.CLI), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.MissingPrograms(dir); err == nil {
		t.Error("a file that cannot be run is taken for a program")
	}
}

func TestCrashesAreSpreadEvenly(t *testing.T) {
	m := &manySessions{crashes: 0.05}
	var at []int
	for i := 1; i <= 100; i++ {
		if m.mustCrash(i) {
			at = append(at, i)
		}
	}
	if !slices.Equal(at, []int{20, 40, 60, 80, 100}) {
		t.Errorf("of a hundred sessions these crash: %v", at)
	}
}

func TestIdleShareOfDevices(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*1e6) }
	d := newDeviceLog()
	d.add("a", at(0), at(100))
	d.add("a", at(110), at(200)) // 10 idle of 200
	d.add("b", at(50), at(150))
	d.add("b", at(149), at(250)) // granted before the last client noted its end: not idle
	idle, devices := d.idleShare()
	if want := 10.0 / 400; devices != 2 || math.Abs(idle-want) > 1e-9 {
		t.Errorf("idle share is %v of %d devices, want %v of 2", idle, devices, want)
	}
	if idle, _ := newDeviceLog().idleShare(); idle != 1 {
		t.Errorf("idle share of no device is %v, want 1: nobody was served", idle)
	}
}

func TestWhatGrewIsReported(t *testing.T) {
	before := vitals{descriptors: 10, goroutines: 5, processes: 2, files: 3}
	after := before
	if after.exceeds(before) {
		t.Error("nothing grew, and is said to")
	}
	after.zombies, after.goroutines = 1, 4
	if !after.exceeds(before) {
		t.Error("a zombie is not seen")
	}
	missed := 0
	for _, r := range leakRows(before, after, "a test") {
		if r.judge(); r.missed() {
			missed++
		}
	}
	if missed != 1 {
		t.Errorf("%d rows miss their target, want the zombies' only", missed)
	}
}

func TestSoakIsJudged(t *testing.T) {
	var out bytes.Buffer
	s := &soakScenario{out: &out, seed: 4}
	if err := s.judge([]check{{"a", true, "fine"}, {"b", true, "fine"}}); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(out.String(), "\n2 passed, 0 failed\n") || !strings.Contains(out.String(), "seed 4") {
		t.Errorf("a soak that went well ends with %q", out.String())
	}
	out.Reset()
	if err := s.judge([]check{{"a", true, "fine"}, {"b", false, "died"}}); err == nil {
		t.Error("a soak with a failed check is no error")
	}
	if !strings.HasSuffix(out.String(), "\n1 passed, 1 failed\n") || !strings.Contains(out.String(), "FAIL b: died") {
		t.Errorf("a soak that failed ends with %q", out.String())
	}
}

func TestGoodPeersThatAreNotServedFailTheSoak(t *testing.T) {
	g := &goodPeers{}
	for i := range len(g.works()) - 2 {
		g.note("a"+strconv.Itoa(i), time.Millisecond, nil)
	}
	g.note("b", goodPeerLimit+time.Millisecond, nil)
	g.note("c", time.Millisecond, errStatus)
	ok := map[bool]int{}
	for _, c := range g.checks() {
		ok[c.ok]++
	}
	if ok[true] != len(g.works())-1 || ok[false] != 2 { // all kinds were at work, and all but two were well
		t.Errorf("checks are %+v", g.checks())
	}
}
