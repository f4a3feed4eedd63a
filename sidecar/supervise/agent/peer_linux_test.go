package agent

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// A program under test that finds the agent's socket is not taken for the
// sidecar, and the sidecar that is there notices nothing.
func TestProcessesBelowTheAgentAreRefused(t *testing.T) {
	for _, how := range []string{"itself", "by a descendant"} {
		t.Run(how, func(t *testing.T) {
			f := runAgent(t)
			f.warm("spare", f.behaviour("warm", "echo"))
			f.await(supervise.EventReady, "spare")
			busy := f.cold("busy", f.behaviour("echo"), 0)
			f.await(supervise.EventStarted, "busy")

			intruder := f.cold("intruder", f.behaviour("intrude", f.options.Socket, "3", how), 0)
			expect(t, intruder, "refused")
			_ = intruder.Close()
			f.exit("intruder", supervise.CauseCompleted)

			if _, err := busy.Write([]byte("hi")); err != nil {
				t.Fatal(err)
			}
			expect(t, busy, "hi")
			_ = busy.Close()
			f.exit("busy", supervise.CauseCompleted)
			f.kill("spare", supervise.CauseKilledDrain, 0)
			f.exit("spare", supervise.CauseKilledDrain)
			log := f.log.String()
			if n := strings.Count(log, "refused"); n != 1 || !strings.Contains(log, "worker=intruder") {
				t.Errorf("the log tells of it %d times", n)
			}
			if strings.Contains(log, "anew") {
				t.Error("the sidecar was replaced")
			}
		})
	}
}

// A child of the agent's process that is no worker's may be the sidecar.
func TestSidecarMayBeTheAgentsOwnChild(t *testing.T) {
	f := runAgent(t)
	cmd := exec.Command(executablePath(t), f.options.Socket, "1")
	cmd.Env = append(cmd.Environ(), roleEnv+"=connect", quickExit)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), string(supervise.EventHello)) {
		t.Errorf("%v: the agent says %q", err, out)
	}
}

func TestDoorman(t *testing.T) {
	const agent, session = 100, 90
	// pid: parent, session, start
	living := map[int][3]int{
		1: {0, 1, 1}, 90: {1, 90, 5}, agent: {90, session, 10},
		200: {agent, 200, 20}, 201: {200, 201, 21}, 202: {201, 202, 22}, // a worker and what is below it
		300: {agent, 299, 30}, 301: {300, 299, 31}, // an orphan of a dead worker and its child
		400: {agent, session, 40}, 401: {400, 401, 41}, // the agent's own helper, and its child
		500: {agent, 500, 15},                  // a child that it had before it was an agent
		600: {1, 600, 50}, 601: {600, 600, 51}, // strangers
		700: {0, 700, 60},  // entered the agent's container from outside
		800: {201, 800, 3}, // older than its parent: that pid is another's by now
	}
	files := map[string]string{}
	for pid, p := range living {
		files[fmt.Sprint(pid, "/stat")] = fmt.Sprintf("%d (a (b) c) S %d %d %d 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0",
			pid, p[0], pid, p[1], p[2])
	}
	d := &doorman{
		proc:      &procfs{root: fakeRoot(t, files), self: agent, session: session},
		strangers: map[int]uint64{500: 15},
		exists:    func(pid int) bool { return pid == 900 },
		told:      map[int]uint64{},
	}
	cases := map[string]struct {
		pid, below int
		refused    bool
	}{
		"in another pid namespace":            {0, 0, false},
		"the agent itself":                    {agent, 0, false},
		"its parent":                          {90, 0, false},
		"init":                                {1, 0, false},
		"somebody else's":                     {601, 0, false},
		"entered the container":               {700, 0, false},
		"a helper in the agent's session":     {400, 0, false},
		"that helper's child":                 {401, 0, false},
		"a child from before":                 {500, 0, false},
		"not to be seen, as another user's":   {900, 0, false},
		"a worker":                            {200, 200, true},
		"a worker's grandchild":               {202, 200, true},
		"an orphan":                           {300, 300, true},
		"an orphan's child":                   {301, 300, true},
		"gone, so that nobody knows whose":    {999, 0, true},
		"of an ancestry that does not add up": {800, 0, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			below, err := d.inspect(c.pid)
			if (err != nil) != c.refused || below.pid != c.below {
				t.Errorf("below %d, error %v; want %d, refused: %v", below.pid, err, c.below, c.refused)
			}
		})
	}
	// Told once of each, though it comes again; a new process with its pid is another.
	w := process{pid: 200, start: 20}
	if !d.tell(w) || d.tell(w) || !d.tell(process{pid: 201, start: 20}) || !d.tell(process{pid: 200, start: 21}) {
		t.Error("not told once of each")
	}
	for i := range 10 * maxTold {
		d.tell(process{pid: 1000 + i})
	}
	if len(d.told) > maxTold {
		t.Errorf("remembers %d", len(d.told))
	}
}

func TestProcessExists(t *testing.T) {
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if !processExists(unix.Getpid()) || processExists(child.Process.Pid) {
		t.Error("wrong of this process or of one that is reaped")
	}
}
