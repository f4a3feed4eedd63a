package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// ProtocolVersion is the version of the agent protocol. The two programs are
// built and shipped together; a mismatch is refused with a clear error.
const ProtocolVersion = 3

// MaxMessage bounds one message of the agent protocol, in bytes. The largest
// is [EventExited] with its [StderrTail] bytes of output.
const MaxMessage = 192 << 10

// StderrTail is how much of a worker's output is kept, in bytes.
const StderrTail = 64 << 10

// Op names a command of the sidecar.
type Op string

// Commands.
const (
	// OpStart starts a worker. With Session set and a descriptor attached it is
	// a cold start; without, a warm one that waits for [OpSession].
	OpStart Op = "start"
	// OpSession hands the attached descriptor to a warm worker that is ready.
	OpSession Op = "session"
	// OpKill kills a worker's whole tree.
	OpKill Op = "kill"
	// OpAck says that the end of a worker, or of a session of a long-lived one,
	// is on record: the agent may forget it. What is not acknowledged is told
	// again to the next sidecar.
	OpAck Op = "ack"
	// OpPing is answered by [EventPong], at once.
	OpPing Op = "ping"
)

// Command is a message from the sidecar to the agent.
type Command struct {
	Op      Op       `json:"op"`
	Worker  string   `json:"worker,omitempty"`  // unique, also between sidecars of one agent; part of its work directory's name
	Seq     uint64   `json:"seq,omitempty"`     // OpAck: [Event.Seq]
	Start   *Start   `json:"start,omitempty"`   // OpStart
	Session *Session `json:"session,omitempty"` // OpSession, and OpStart of a cold worker
	Kill    *Kill    `json:"kill,omitempty"`    // OpKill
}

// Start says how to run a worker.
type Start struct {
	Argv []string `json:"argv"` // program and arguments; empty: the agent's own default command
	Env  []string `json:"env,omitempty"`
	// StartTimeout bounds the time until a warm worker is ready.
	StartTimeout time.Duration `json:"startTimeout"`
	// KillGrace is the time between SIGTERM and SIGKILL when the agent kills by
	// itself (deadline, start timeout, stop).
	KillGrace time.Duration `json:"killGrace"`
	// ReapTimeout is how long a tree may outlive SIGKILL before it is reported
	// as unkillable.
	ReapTimeout time.Duration `json:"reapTimeout"`
	// LongLived workers serve one session after another and keep their deadlines
	// themselves (isolation Watchdog).
	LongLived bool `json:"longLived,omitempty"`
	// Calls says that the session that a worker is started with is a channel of
	// native calls, which lasts as long as the worker.
	Calls bool `json:"calls,omitempty"`
	// Dump is sent to the worker's group after the grace, before SIGKILL, so that
	// it leaves its stacks or a core: SIGQUIT, SIGABRT, or 0 for none. It has
	// [DumpTime] for it.
	Dump syscall.Signal `json:"dump,omitempty"`
	// Heartbeat is how long the worker's loop may be silent once it has beaten
	// for the first time; 0: heartbeats are not asked for.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
	// Budgets bound the phases of a session that the worker names (a [Phase]
	// each); a phase without one is bounded by the session alone.
	Budgets map[Phase]time.Duration `json:"budgets,omitempty"`
	// Limits bound what the worker's tree may use.
	Limits Limits `json:"limits,omitzero"`
}

// DumpTime is how long a worker may take to leave its stacks or a core.
const DumpTime = 2 * time.Second

// Limits bound what one worker's tree may use, as far as the machine allows;
// the zero value of each field is no limit.
type Limits struct {
	CPU       int64 `json:"cpu,omitempty"`       // thousandths of a core
	Memory    int64 `json:"memory,omitempty"`    // bytes
	Processes int64 `json:"processes,omitempty"` // processes and threads
	OpenFiles int64 `json:"openFiles,omitempty"` // descriptors of each process
	File      int64 `json:"file,omitempty"`      // bytes, of each file that is written
	WorkDir   int64 `json:"workDir,omitempty"`   // bytes in the work directory, measured every second or so
}

// Has tells whether the limit with this JSON name is set.
func (l Limits) Has(name string) bool {
	return map[string]int64{
		"cpu": l.CPU, "memory": l.Memory, "processes": l.Processes,
		"openFiles": l.OpenFiles, "file": l.File, "workDir": l.WorkDir,
	}[name] > 0
}

// Phase is a part of a session for which a worker can have a budget. The set is
// closed.
type Phase string

// Phases.
const (
	PhaseUpload Phase = "upload" // files come in
	PhaseLoad   Phase = "load"   // a module is loaded
	PhaseRun    Phase = "run"    // a function is called
)

// Phases returns every phase, in a fixed order.
func Phases() []Phase { return []Phase{PhaseUpload, PhaseLoad, PhaseRun} }

// Session is a session as its worker sees it.
type Session struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Client string `json:"client"` // remote address
	// Timeout is the session's length at most, counted from the hand-over;
	// 0: no deadline.
	Timeout time.Duration `json:"timeout"`
	// Memo is what the sidecar wants to find again should it crash. The agent
	// gives it back unread.
	Memo string `json:"memo,omitempty"`
}

// Kill says why and how gently.
type Kill struct {
	Cause Cause         `json:"cause"`
	Grace time.Duration `json:"grace"` // between SIGTERM and SIGKILL; 0: SIGKILL at once
}

// EventKind names an event of the agent.
type EventKind string

// Events.
const (
	// EventHello is the first message on every connection. After it come an
	// [EventAdopt] for every session in progress, the ends that no sidecar has
	// acknowledged, and [EventUnkillable] of the workers that are.
	EventHello EventKind = "hello"
	// EventAdopt hands the sidecar the descriptor of a session in progress that
	// an earlier one began.
	EventAdopt EventKind = "adopt"
	// EventStarted: the process exists; for a session, a worker has it.
	EventStarted EventKind = "started"
	// EventReady: a worker waits for its session.
	EventReady EventKind = "ready"
	// EventEnded: a session of a long-lived worker is over, and the worker waits
	// for the next one.
	EventEnded EventKind = "ended"
	// EventExited: the worker and every descendant of it are gone and its work
	// directory is removed. Also the answer to a start that failed. If no sidecar
	// was there when it happened, the session's descriptor comes with it.
	EventExited EventKind = "exited"
	// EventCleaning: the tree is gone, and to remove what it left takes a while.
	EventCleaning EventKind = "cleaning"
	// EventUnkillable: the tree outlived SIGKILL by ReapTimeout. EventExited
	// still follows if it ever ends, without the session if a sidecar was told.
	EventUnkillable EventKind = "unkillable"
	// EventStopping: the agent was told to stop. Sessions in progress have its
	// drain time left; no more are taken.
	EventStopping EventKind = "stopping"
	// EventPong: the agent's loop turns.
	EventPong EventKind = "pong"
)

// Event is a message from the agent to the sidecar.
type Event struct {
	Kind    EventKind `json:"kind"`
	Seq     uint64    `json:"seq,omitempty"` // EventEnded, EventExited: to be acknowledged
	Worker  string    `json:"worker,omitempty"`
	PID     int       `json:"pid,omitempty"`     // EventStarted
	Hello   *Hello    `json:"hello,omitempty"`   // EventHello
	Report  *Report   `json:"report,omitempty"`  // EventEnded, EventExited, EventUnkillable
	Session *Session  `json:"session,omitempty"` // whose session it is, or was
	// FD is the descriptor that came with the event, -1 if none did. Who takes
	// the event from [Link.Events] owns it.
	FD int `json:"-"`
}

// Hello tells a sidecar that (re)connects what the agent has.
type Hello struct {
	Version  int           `json:"version"`
	PID      int           `json:"pid"`
	Instance string        `json:"instance"` // random; another one is another agent, whose predecessor's workers are dead
	Starts   uint64        `json:"starts"`   // agents that ever started on this work root
	Workers  []HelloWorker `json:"workers,omitempty"`
	Command  []string      `json:"command,omitempty"` // the agent's default worker command
	Stopping bool          `json:"stopping,omitempty"`
	// MemoryLimit is that of the agent's own control group, the container's, in
	// bytes; 0: none, or not known.
	MemoryLimit int64 `json:"memoryLimit,omitempty"`
	// Unbounded names the limits (of [Limits], by JSON name) that this agent
	// cannot enforce, with the reason.
	Unbounded map[string]string `json:"unbounded,omitempty"`
}

// HelloWorker is a worker that is alive when a sidecar connects.
type HelloWorker struct {
	ID      string        `json:"id"`
	State   State         `json:"state"`
	Session *Session      `json:"session,omitempty"`
	Age     time.Duration `json:"age,omitempty"` // of the session
}

// Limit says which bound a worker ran into. The set is closed; empty: none.
type Limit string

// Bounds whose crossing ends a worker.
const (
	LimitStart     Limit = "start"     // time to become ready
	LimitSession   Limit = "session"   // length of the session
	LimitHeartbeat Limit = "heartbeat" // silence of its loop
	LimitUpload    Limit = Limit(PhaseUpload)
	LimitLoad      Limit = Limit(PhaseLoad)
	LimitRun       Limit = Limit(PhaseRun)
	LimitMemory    Limit = "memory"   // killed by the kernel
	LimitWorkDir   Limit = "work-dir" // size of the work directory
)

// Report is the truth about how a worker, or a session of a long-lived worker,
// ended.
type Report struct {
	Cause      Cause          `json:"cause"`
	Limit      Limit          `json:"limit,omitempty"`  // which bound it ran into, if that is why
	Code       int            `json:"code"`             // exit status; -1 if a signal ended it or it never ran
	Signal     syscall.Signal `json:"signal,omitempty"` // signal that ended it
	Core       bool           `json:"core,omitempty"`   // the signal left a core dump
	CorePath   string         `json:"corePath,omitempty"`
	Error      string         `json:"error,omitempty"` // why it could not be started, or what else is to be said
	Wall       time.Duration  `json:"wall"`            // from the hand-over of the session, else from the start
	UserTime   time.Duration  `json:"userTime"`
	SysTime    time.Duration  `json:"sysTime"`
	MaxRSS     int64          `json:"maxRSS"`               // bytes, of the largest process
	PeakMemory int64          `json:"peakMemory,omitempty"` // bytes, of the whole tree; 0: not known
	Output     []byte         `json:"output,omitempty"`     // last bytes of stdout and stderr
}

// Conn is one end of the agent protocol. Send may be called concurrently;
// Receive may not.
type Conn struct {
	unix  *net.UnixConn
	buf   []byte
	oob   []byte
	reset bool // by the peer
}

// NewConn makes an end of the protocol from a SOCK_SEQPACKET connection.
func NewConn(c *net.UnixConn) *Conn {
	return &Conn{unix: c, buf: make([]byte, MaxMessage), oob: make([]byte, syscall.CmsgSpace(4))}
}

// Close closes the connection. A Receive in progress returns an error.
func (c *Conn) Close() error {
	return c.unix.Close() //nolint:wrapcheck // nothing to add
}

// Send sends one message ([Command] or [Event]) and, if fd >= 0, a duplicate
// of that descriptor. The caller keeps its own.
func (c *Conn) Send(message any, fd int) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode agent message: %w", err)
	}
	if len(body) > MaxMessage {
		return fmt.Errorf("agent message of %d bytes is over the limit of %d", len(body), MaxMessage)
	}
	var rights []byte
	if fd >= 0 {
		rights = syscall.UnixRights(fd)
	}
	if _, _, err := c.unix.WriteMsgUnix(body, rights, nil); err != nil {
		return fmt.Errorf("send agent message: %w", err)
	}
	return nil
}

// errMalformed is of a message that came whole and cannot be understood.
var errMalformed = errors.New("decode agent message")

// IsMalformed tells whether an error of [Conn.Receive] is about the message
// alone: the connection is good and the next message may be.
func IsMalformed(err error) bool { return errors.Is(err, errMalformed) }

// Receive reads one message into message and returns the descriptor that came
// with it (close-on-exec), or -1. A closed connection gives [net.ErrClosed] or
// io.EOF; for a message that makes no sense see [IsMalformed]. A peer that closes
// with messages unread resets the connection, and the kernel says so before it
// hands out what the peer had sent, which still counts.
func (c *Conn) Receive(message any) (fd int, err error) {
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(c.buf, c.oob)
	if errors.Is(err, syscall.ECONNRESET) && !c.reset {
		c.reset = true
		n, oobn, flags, _, err = c.unix.ReadMsgUnix(c.buf, c.oob)
	}
	if err != nil {
		return -1, fmt.Errorf("receive agent message: %w", err)
	}
	fd, err = descriptor(c.oob[:oobn])
	switch {
	case err != nil:
	case flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0:
		err = errors.New("agent message is truncated")
	default:
		err = json.Unmarshal(c.buf[:n], message)
	}
	if err != nil {
		CloseFD(fd)
		return -1, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return fd, nil
}

// descriptor takes the one descriptor out of a control message; -1 if none.
func descriptor(oob []byte) (int, error) {
	if len(oob) == 0 {
		return -1, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, err
	}
	fd := -1
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, f := range fds {
			CloseFD(fd)
			fd = f
		}
	}
	if fd >= 0 {
		syscall.CloseOnExec(fd)
	}
	return fd, nil
}

// CloseFD closes a descriptor; a negative one is none.
func CloseFD(fd int) {
	if fd >= 0 {
		_ = syscall.Close(fd)
	}
}
