package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// playLong is a long-lived worker: it serves one session after another. What it
// does in each is what the client's first line says.
func playLong(args []string) int {
	if len(args) > 0 && args[0] == "slow" { // asks for time to become ready
		say("EXTEND_TIMEOUT_USEC=60000000")
		time.Sleep(1500 * time.Millisecond)
	}
	ready := "R"
	for {
		if len(args) > 0 && args[0] == "notify" {
			say("READY=1")
		} else if _, err := unix.Write(3, []byte(ready)); err != nil {
			return 0
		}
		session, about := nextSession()
		if session == nil {
			return 0
		}
		ready = serveLong(session, about)
		_ = session.Close()
	}
}

// say sends a datagram to the supervisor.
func say(text string) {
	c, err := net.Dial("unixgram", os.Getenv(envNotify))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(text))
}

// nextSession waits for a session; nil: there are no more.
func nextSession() (*os.File, assignment) {
	body, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(3, body, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return nil, assignment{}
	}
	var a assignment
	if err := json.Unmarshal(body[1:n], &a); err != nil {
		fmt.Println(err)
		return nil, a
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
	fds, _ := unix.ParseUnixRights(&messages[0])
	return os.NewFile(uintptr(fds[0]), "session"), a
}

// serveLong serves one session and returns what is to be said at its end.
func serveLong(session *os.File, about assignment) string {
	line, _ := bufio.NewReader(session).ReadString('\n')
	words := strings.Fields(line + " nothing")
	switch words[0] {
	case "who":
		entries, err := os.ReadDir(about.WorkDir)
		fmt.Fprintf(session, "%d %s %d %v", os.Getpid(), about.WorkDir, len(entries), err)
		_ = os.WriteFile(about.WorkDir+"/left", []byte("x"), 0o600)
		fmt.Println("said by", about.ID)
	case "exit":
		status, _ := strconv.Atoi(words[1])
		os.Exit(status)
	case "watchdog": // ends by itself at the deadline, with status 0
		time.Sleep(time.Duration(about.Timeout * float64(time.Second)))
		os.Exit(0)
	case "hang":
		fmt.Fprint(session, "up")
		time.Sleep(time.Hour)
	case "protocol":
		return "PR"
	case "leave":
		c := exec.Command("/proc/self/exe", "sleeper")
		c.Env = append(os.Environ(), roleEnv+"=worker")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			fmt.Println(err)
		}
		fmt.Fprintln(session, c.Process.Pid)
	case "say": // TEXT…, then hangs
		for _, text := range words[1 : len(words)-1] {
			say(text)
		}
		time.Sleep(time.Hour)
	case "child-says": // a heartbeat that is not its own
		say("WATCHDOG=1")
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), roleEnv+"=beater")
		_ = c.Run()
		time.Sleep(time.Hour)
	}
	return "R"
}

// playBeater beats for somebody else.
func playBeater() int {
	for range 40 {
		say("WATCHDOG=1")
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}
