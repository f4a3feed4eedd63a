//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"rpcpool.dev/tvm"
)

// cyclesScenario measures how many devices a second the tracker gives away and
// takes back: each cycle is a REQUEST and its grant, and the PUT that offers
// the same device again and its status, as fast as one thread can drive it.
type cyclesScenario struct {
	servers, clients int
	length           time.Duration
	rounds           int
}

const (
	cyclesTarget = 20000 // a second
	deepQueue    = 10000 // requests that wait in the second part
)

func (*cyclesScenario) name() string { return "cycles" }
func (*cyclesScenario) about() string {
	return "REQUEST and PUT cycles a second, many servers and clients"
}
func (s *cyclesScenario) modest() { s.rounds = 3 }
func (s *cyclesScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.servers, "servers", 200, "servers that offer")
	flags.IntVar(&s.clients, "clients", 64, "clients that ask")
	flags.DurationVar(&s.length, "length", time.Second, "length of a round")
	flags.IntVar(&s.rounds, "rounds", 5, "rounds, in turns with the floor's")
}

func (s *cyclesScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		figure           string
		servers, clients int
		depth            int
		limit            float64
	}{
		{"", s.servers, s.clients, 1, cyclesTarget},
		{fmt.Sprintf(", %s requests waiting", thousands(deepQueue)), s.servers, s.clients, deepQueue / s.clients, 0},
		{"", 1000, s.clients, 1, 0},
	} {
		err := s.part(ctx, l, tracker, floor, part.servers, part.clients, part.depth, part.figure, part.limit)
		if err != nil {
			return err
		}
	}
	return nil
}

// part measures one size.
func (s *cyclesScenario) part(
	ctx context.Context, l *lab, tracker, floor *service, servers, clients, depth int, more string, limit float64,
) error {
	ours, err := newTrackerLoad(tracker.addr, servers, clients, depth)
	if err != nil {
		return err
	}
	defer ours.swarm.close()
	raw, err := newFloorLoad(floor.addr, servers, clients, ours)
	if err != nil {
		return err
	}
	defer raw.swarm.close()
	rates, floors := &sample{}, &sample{}
	for i := range s.rounds + 1 {
		rate, err := ours.round(ctx, s.length)
		if err != nil {
			return fmt.Errorf("tracker: %w", err)
		}
		floor, err := raw.round(ctx, s.length)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if i > 0 { // the first round warms up
			rates.addValue(rate)
			floors.addValue(floor)
		} else {
			ours.waits = sample{}
		}
	}
	what := fmt.Sprintf("%d servers, %d clients%s", servers, clients, more)
	r := number("cycles, "+what, perSecond, rates.quantile(0.5)).aboveNumber(floors.quantile(0.5),
		fmt.Sprintf("two raw ping-pongs a cycle of the same sizes, over as many connections (%d)", servers+clients))
	if limit > 0 {
		r.atLeast(ofValue, limit)
	}
	l.add(r.noted("median of %d rounds of %s; the slowest made %s", s.rounds, s.length, perSecond.text(rates.quantile(0))))
	if depth == 1 {
		l.add(latencies("REQUEST → grant under that load, "+what, &ours.waits))
	}
	return nil
}

// cycleLoad is a swarm of servers and clients that keep each other busy. A
// client asks, gets a server, and that server is offered again while the client
// asks again. On the floor the messages are blank and the server is simply the
// next one.
type cycleLoad struct {
	swarm   *swarm
	servers []*member
	clients []*member
	depth   int // requests of a client that wait at a time
	request []byte
	grant   int // length of the answer
	put     func(server *member) []byte
	granted func(answer []byte) (server *member, err error)
	over    bool // the round is over: ask no more
	cycles  uint64
	waits   sample // latencies of requests, if depth is 1
}

// newTrackerLoad connects to a tracker and offers every server once.
func newTrackerLoad(addr string, servers, clients, depth int) (l *cycleLoad, err error) {
	l = &cycleLoad{depth: depth, request: requestFrame(benchKey)}
	if l.swarm, err = newSwarm(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.swarm.close()
		}
	}()
	magic := tvm.AppendTrackerMagic(nil)
	puts := map[*member][]byte{}
	for i := range servers {
		put := putFrame(benchKey, cycleTicket(i, 0))
		hello := append(append(bytes.Clone(magic), infoFrame(benchKey)...), put...)
		m, err := l.swarm.dial(addr, hello, len(magic)+2*statusFrame)
		if err != nil {
			return nil, err
		}
		m.answer, m.got = statusFrame, acceptStatus
		puts[m] = put
		l.servers = append(l.servers, m)
	}
	l.put = func(m *member) []byte {
		m.count++
		put := puts[m]
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(m.count))
		hex.Encode(put[bytes.LastIndexByte(put, '-')+1:], n[:])
		return put
	}
	l.granted = func(answer []byte) (*member, error) { return serverOf(answer, l.servers) }
	l.grant = len(tvm.AppendFrame(nil, tvm.Grant{
		Host: "127.0.0.1", Port: []byte(strconv.Itoa(scriptedPort)), MatchKey: cycleTicket(0, 0),
	}.AppendPayload(nil)))
	return l, l.dialClients(addr, clients, magic)
}

// newFloorLoad connects to a floor, with the message lengths of model.
func newFloorLoad(addr string, servers, clients int, model *cycleLoad) (l *cycleLoad, err error) {
	l = &cycleLoad{depth: model.depth, request: floorMessage(len(model.request), model.grant), grant: model.grant}
	if l.swarm, err = newSwarm(); err != nil {
		return nil, err
	}
	put := floorMessage(len(putFrame(benchKey, cycleTicket(0, 0))), statusFrame)
	for range servers {
		m, err := l.swarm.dial(addr, nil, 0)
		if err != nil {
			l.swarm.close()
			return nil, err
		}
		m.answer, m.got = statusFrame, func(*member, []byte) error { return nil }
		l.servers = append(l.servers, m)
	}
	l.put = func(*member) []byte { return put }
	next := 0
	l.granted = func([]byte) (*member, error) {
		next = (next + 1) % len(l.servers)
		return l.servers[next], nil
	}
	if err := l.dialClients(addr, clients, nil); err != nil {
		l.swarm.close()
		return nil, err
	}
	return l, nil
}

func (l *cycleLoad) dialClients(addr string, n int, hello []byte) error {
	for range n {
		m, err := l.swarm.dial(addr, hello, len(hello))
		if err != nil {
			return err
		}
		m.answer, m.got = l.grant, l.onGrant
		l.clients = append(l.clients, m)
	}
	return nil
}

// onGrant ends one request and begins the next.
func (l *cycleLoad) onGrant(client *member, answer []byte) error {
	l.cycles++
	if l.depth == 1 {
		l.waits.add(time.Since(client.began))
	}
	server, err := l.granted(answer)
	if err != nil {
		return err
	}
	if err := l.swarm.ask(server, l.put(server)); err != nil {
		return err
	}
	if l.over {
		return nil
	}
	client.began = time.Now()
	return l.swarm.ask(client, l.request)
}

// round runs for a while and returns the cycles a second. All that was asked in
// it is answered when it returns, and counts, as does the time that takes.
func (l *cycleLoad) round(ctx context.Context, length time.Duration) (float64, error) {
	l.over, l.cycles = false, 0
	began := time.Now()
	for _, c := range l.clients {
		c.began = began
		for range l.depth {
			if err := l.swarm.ask(c, l.request); err != nil {
				return 0, err
			}
		}
	}
	end := began.Add(length)
	err := l.swarm.drive(ctx, 10*time.Millisecond, func() bool { return time.Now().After(end) })
	if err != nil {
		return 0, err
	}
	l.over = true
	if err := l.swarm.drain(ctx); err != nil {
		return 0, err
	}
	return float64(l.cycles) / time.Since(began).Seconds(), nil
}

// cycleTicket names the server, so that a grant tells whose it is.
func cycleTicket(server, n int) string { return fmt.Sprintf("%s:%04x-%08x", benchKey, server, n) }

// errForeignGrant says that a grant is not for a device of ours.
var errForeignGrant = errors.New("grant of an unknown ticket")

// serverOf finds the server whose ticket a grant holds.
func serverOf(answer []byte, servers []*member) (*member, error) {
	colon := bytes.LastIndexByte(answer, ':')
	if colon < 0 || colon+5 > len(answer) {
		return nil, fmt.Errorf("%w: %.80q", errForeignGrant, answer)
	}
	i, err := strconv.ParseUint(string(answer[colon+1:colon+5]), 16, 16)
	if err != nil || int(i) >= len(servers) {
		return nil, fmt.Errorf("%w: %.80q", errForeignGrant, answer)
	}
	return servers[i], nil
}

// acceptStatus checks that a PUT was taken.
func acceptStatus(_ *member, answer []byte) error {
	if answer[len(answer)-1] != '0' {
		return fmt.Errorf("%w: %q", errStatus, answer)
	}
	return nil
}
