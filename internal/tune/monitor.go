package tune

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// pollTimeout bounds one question to the tracker.
const pollTimeout = 5 * time.Second

// PoolState is how many servers of a key the tracker knows, by what they do.
type PoolState struct {
	Known bool // false: the tracker has not answered (lately)
	Free  int
	Busy  int // in a session, or granted and about to be
	Down  int // starting, draining, quarantined or hung
}

// Servers is how many there are.
func (p PoolState) Servers() int { return p.Free + p.Busy + p.Down }

// poolState counts the servers of key. A stock tracker tells no states: there
// the servers that the queue does not count as free are busy.
func poolState(s tvm.SummaryReply, key string) PoolState {
	p := PoolState{Known: true}
	unknown := 0
	for _, server := range s.Servers {
		if server.Key() != tvm.ServerKeyPrefix+key {
			continue
		}
		switch tracker.State(server.State()) {
		case tracker.StateFree:
			p.Free++
		case tracker.StateGranted, tracker.StateBusy:
			p.Busy++
		case "":
			unknown++
		default:
			p.Down++
		}
	}
	if unknown > 0 {
		free := min(unknown, max(0, s.Queue[key].Free-p.Free))
		p.Free += free
		p.Busy += unknown - free
	}
	return p
}

// Monitor polls the tracker for the state of a pool.
type Monitor struct {
	tracker, key string
	interval     time.Duration

	mu    sync.Mutex
	state PoolState
}

// NewMonitor returns a monitor of the servers of key that polls every
// interval.
func NewMonitor(trackerAddr, key string, interval time.Duration) *Monitor {
	return &Monitor{tracker: trackerAddr, key: key, interval: interval}
}

// State returns what the last poll found.
func (m *Monitor) State() PoolState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *Monitor) set(p PoolState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = p
}

// Await returns the pool's state as soon as there is a server. If it has to
// wait it says why, once, by waiting. It gives up after patience, with the reason:
// no tracker, or no server.
func (m *Monitor) Await(ctx context.Context, patience time.Duration, waiting func(reason error)) (PoolState, error) {
	p := poller{addr: m.tracker, key: m.key}
	defer p.close()
	deadline := time.Now().Add(patience)
	for try := 0; ; try++ {
		state, err := p.ask(ctx)
		m.set(state)
		if ctx.Err() != nil {
			return state, ctx.Err()
		}
		if err == nil {
			if state.Servers() > 0 {
				return state, nil
			}
			err = fmt.Errorf("tracker %s has no server of key %q", m.tracker, m.key)
		}
		if !time.Now().Before(deadline) {
			return state, err
		}
		if try == 0 {
			waiting(err)
		}
		if !sleep.For(min(m.interval, max(time.Until(deadline), time.Millisecond)), ctx.Done()) {
			return state, ctx.Err()
		}
	}
}

// Run polls until ctx ends. It fails if there has been no server for patience: a
// request would wait for ever. A tracker that does not answer is another matter;
// whoever needs it will find out.
func (m *Monitor) Run(ctx context.Context, patience time.Duration) error {
	p := poller{addr: m.tracker, key: m.key}
	defer p.close()
	last := time.Now()
	for sleep.For(m.interval, ctx.Done()) {
		state, err := p.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		m.set(state)
		if err != nil || state.Servers() > 0 {
			last = time.Now()
		}
		if time.Since(last) >= patience {
			return fmt.Errorf("tracker %s has had no server of key %q for %s", m.tracker, m.key, patience)
		}
	}
	return nil
}

// poller asks a tracker, over one connection while it lasts.
type poller struct {
	addr, key string
	client    *tracker.Client
}

func (p *poller) ask(ctx context.Context) (PoolState, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if p.client == nil {
		c, err := tracker.Dial(ctx, p.addr)
		if err != nil {
			return PoolState{}, err //nolint:wrapcheck // it names the tracker
		}
		p.client = c
	}
	s, err := p.client.Summary(ctx)
	if err != nil {
		p.close()
		return PoolState{}, fmt.Errorf("tracker %s: %w", p.addr, err)
	}
	return poolState(s, p.key), nil
}

func (p *poller) close() {
	if p.client != nil {
		_ = p.client.Close()
		p.client = nil
	}
}
