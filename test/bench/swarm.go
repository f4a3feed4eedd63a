//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// swarm drives thousands of connections from one thread: raw sockets, one
// epoll, no goroutine and no allocation a message. What it costs is taken from
// the same cores as the program under load, so it has to cost little.
type swarm struct {
	epoll   int
	members []*member
	byFD    map[int32]*member
	pending int // answers that are still to come
}

// member is one connection of a swarm. All its answers have the same length.
type member struct {
	fd     int
	index  int
	answer int
	in     []byte
	have   int
	got    func(m *member, answer []byte) error
	began  time.Time // of the message whose answer is waited for; for users who measure
	count  uint64    // for users who count
}

const (
	swarmBuffer = 512
	swarmEvents = 256
)

func newSwarm() (*swarm, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("swarm: %w", err)
	}
	return &swarm{epoll: fd, byFD: map[int32]*member{}}, nil
}

func (s *swarm) close() {
	for _, m := range s.members {
		_ = unix.Close(m.fd)
	}
	s.members, s.byFD = nil, nil
	_ = unix.Close(s.epoll)
}

// dial connects one more member. hello is sent at once and must be answered by
// answer bytes.
func (s *swarm) dial(addr string, hello []byte, answer int) (*member, error) {
	m, err := dialMember(addr, hello, answer)
	if err != nil {
		return nil, fmt.Errorf("swarm: connect number %d: %w", len(s.members)+1, err)
	}
	m.index = len(s.members)
	s.members = append(s.members, m)
	s.byFD[int32(m.fd)] = m
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(m.fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, m.fd, &event); err != nil {
		return nil, fmt.Errorf("swarm: %w", err)
	}
	return m, nil
}

func dialMember(addr string, hello []byte, answer int) (m *member, err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	m = &member{fd: fd}
	if len(hello) > 0 {
		if err := m.send(hello); err != nil {
			return nil, err
		}
	}
	in := make([]byte, answer)
	for done := 0; done < answer; {
		n, err := unix.Read(fd, in[done:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("hello: %w", err)
		case n == 0:
			return nil, errors.New("hello: connection closed")
		}
		done += max(n, 0)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("non-blocking: %w", err)
	}
	return m, nil
}

// send sends a message, which is small enough that a socket takes it at once.
func (m *member) send(b []byte) error {
	for {
		n, err := unix.Write(m.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("send: %w", err)
		case n < len(b):
			return fmt.Errorf("send: socket took %d of %d bytes", n, len(b))
		default:
			return nil
		}
	}
}

// ask sends a message of m and expects its answer.
func (s *swarm) ask(m *member, message []byte) error {
	s.pending++
	return m.send(message)
}

// drive handles answers until the function done returns true, which is asked
// after each batch and at least every tick.
func (s *swarm) drive(ctx context.Context, tick time.Duration, done func() bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, swarmEvents)
	for !done() {
		n, err := unix.EpollWait(s.epoll, events, int(tick.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("swarm: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			if err := s.receive(s.byFD[event.Fd]); err != nil {
				return fmt.Errorf("swarm: connection %d: %w", event.Fd, err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// drain handles answers until all have come.
func (s *swarm) drain(ctx context.Context) error {
	return s.drive(ctx, 10*time.Millisecond, func() bool { return s.pending == 0 })
}

// receive reads once from a member that has something, and hands on each
// complete answer.
func (s *swarm) receive(m *member) error {
	if m.in == nil { // most members of an idle swarm never need one
		m.in = make([]byte, max(swarmBuffer, 4*m.answer))
	}
	n, err := unix.Read(m.fd, m.in[m.have:])
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case n == 0:
		return errors.New("connection closed")
	}
	m.have += n
	used := 0
	for ; m.have-used >= m.answer; used += m.answer {
		s.pending--
		if err := m.got(m, m.in[used:used+m.answer]); err != nil {
			return err
		}
	}
	m.have = copy(m.in, m.in[used:m.have])
	return nil
}
