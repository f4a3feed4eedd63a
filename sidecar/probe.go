package sidecar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// maxProbeReply bounds the answer to the probe, in bytes; an exception text may
// be long, but not this long.
const maxProbeReply = 1 << 20

// probe asks a worker, over a socket pair instead of a client's connection,
// whether it speaks the session protocol and in which flavour. It is the health
// check before the first offer: it proves that the program starts, loads its
// libraries and answers.
type probe struct {
	answered bool
	counted  bool // the end of its worker has counted as a failure already
	flavour  tvm.Flavour
	err      error
	report   *supervise.Report // how the worker ended, if it did before we had read its answer
}

// newProbe makes the pair. The worker's end is the session's socket; ours is
// returned for [askFlavour].
func newProbe() (*peerSocket, net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	theirs, err := takeSocket(pair[0])
	if err != nil {
		return nil, nil, errors.Join(err, unix.Close(pair[1]))
	}
	file := os.NewFile(uintptr(pair[1]), "probe")
	ours, err := net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return theirs, ours, nil
}

// askFlavour opens a session on c, learns the flavour from the answer and ends
// the session. It closes c.
func askFlavour(c net.Conn, patience time.Duration) (tvm.Flavour, error) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	hello, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.InitServer{Version: tvm.ProtocolVersion})
	if err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: %w", err)
	}
	if _, err := c.Write(hello); err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: %w", err)
	}
	reply := make([]byte, 8)
	if _, err := io.ReadFull(c, reply); err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: no answer: %w", err)
	}
	n := binary.LittleEndian.Uint64(reply)
	if n > maxProbeReply {
		return tvm.FlavourAuto, fmt.Errorf("probe: answer of %d bytes", n)
	}
	reply = append(reply, make([]byte, n)...)
	if _, err := io.ReadFull(c, reply[8:]); err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: answer cut short: %w", err)
	}
	flavour, err := tvm.FlavourOfInitReply(reply)
	if err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: %w", err)
	}
	bye, err := tvm.AppendPacket(nil, flavour, tvm.Shutdown{})
	if err == nil {
		_, err = c.Write(bye)
	}
	if err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: %w", err)
	}
	_, err = io.Copy(io.Discard, c) // until the worker closes
	if err != nil {
		return tvm.FlavourAuto, fmt.Errorf("probe: end of session: %w", err)
	}
	return flavour, nil
}

// compatible tells whether the worker's flavour is the one that the pool says.
// B and C differ in nothing that a server's answer shows.
func compatible(want, got tvm.Flavour) bool {
	return want == tvm.FlavourAuto || (want == tvm.FlavourA) == (got == tvm.FlavourA)
}

// beginProbe asks a worker for its flavour before the device is offered.
func (c *core) beginProbe(now time.Time) {
	socket, ours, err := newProbe()
	if err != nil {
		c.crew.Failed(now, err.Error())
		return
	}
	s := &session{
		id: newID(), client: probeClient, timeout: c.options.StartTimeout,
		began: now, socket: socket, unwatch: func() {}, probe: &probe{},
	}
	c.current = s
	go func(conn net.Conn) {
		flavour, err := askFlavour(conn, c.options.StartTimeout)
		select {
		case c.answers <- answer{session: s.id, flavour: flavour, err: err}:
		case <-c.done:
		}
	}(ours)
	c.assign(now)
}

// answered keeps the answer to a probe until its worker has ended.
func (c *core) answered(a answer) {
	if s := c.current; s != nil && s.id == a.session {
		s.probe.flavour, s.probe.err, s.probe.answered = a.flavour, a.err, true
		if s.probe.report != nil {
			c.judge(s, *s.probe.report, time.Now())
		}
	}
}

// dismiss ends a worker that is of no use, if it lives: a long-lived one that
// failed the probe would be asked again at once, and fail again.
func (c *core) dismiss(worker string) {
	if c.link != nil && c.crew.Has(worker) {
		c.crew.Terminating(worker)
		_ = c.link.Kill(worker, supervise.Kill{Cause: supervise.CauseKilledDrain, Grace: c.options.KillGrace})
	}
}

// judge decides by a probe whether the workers can serve.
func (c *core) judge(s *session, r supervise.Report, now time.Time) {
	if !s.probe.answered {
		s.probe.report = &r // our end of the socket pair sees its end at once
		return
	}
	c.current = nil
	s.socket.Close()
	err := s.probe.err
	switch {
	case err == nil && r.Cause != supervise.CauseCompleted:
		err = fmt.Errorf("probe answered, then %s: %s", r.Cause, r)
	case err == nil && !compatible(c.options.Flavour, s.probe.flavour):
		err = fmt.Errorf("worker speaks flavour %s, not %s as configured", s.probe.flavour, c.options.Flavour)
	case err != nil && r.Cause != supervise.CauseCompleted:
		err = fmt.Errorf("%w (worker: %s, %s)", err, r.Cause, r)
	}
	if err != nil {
		c.options.Logger.Warn("worker failed the probe", "error", err)
		if !s.probe.counted {
			c.crew.Failed(now, err.Error())
		}
		c.dismiss(s.worker)
		return
	}
	c.crew.Healthy()
	c.crew.Proved(s.worker)
	c.probed = true
	if c.options.Flavour == tvm.FlavourAuto {
		c.flavour = s.probe.flavour
	}
	c.options.Logger.Info("worker passed the probe", "flavour", c.flavour.String(), "took", now.Sub(s.began))
}
