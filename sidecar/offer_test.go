package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// fakeTracker is a tracker without a network. A native one withdraws a value
// when its server says that it is not free; a stock one does not.
type fakeTracker struct {
	mu      sync.Mutex
	native  bool
	down    error
	pending []string
	infos   []map[string]json.RawMessage
	puts    []tvm.Put
	conns   int
	closed  int
	happens chan struct{} // one value for each call
	gone    chan struct{} // of the last connection
}

func newFakeTracker() *fakeTracker { return &fakeTracker{happens: make(chan struct{}, 10000)} }

func (f *fakeTracker) Gone() <-chan struct{} { return f.current() }

func (f *fakeTracker) current() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

func (f *fakeTracker) dial(context.Context) (trackerConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.happens <- struct{}{}
	if f.down != nil {
		return nil, f.down
	}
	f.conns++
	f.gone = make(chan struct{})
	return f, nil
}

func (f *fakeTracker) UpdateInfo(_ context.Context, u tvm.UpdateInfo) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.happens <- struct{}{}
	f.infos = append(f.infos, u.Info)
	if f.native && string(u.Info["state"]) != `"free"` {
		f.pending = nil
	}
	return f.down
}

func (f *fakeTracker) Put(_ context.Context, p tvm.Put) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.happens <- struct{}{}
	f.puts = append(f.puts, p)
	f.pending = []string{p.MatchKey}
	return f.down
}

func (f *fakeTracker) Pending(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.happens <- struct{}{}
	return slices.Clone(f.pending), f.down
}

func (f *fakeTracker) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	f.pending = nil
	return nil
}

// see waits until the tracker's state satisfies a condition.
func (f *fakeTracker) see(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		f.mu.Lock()
		ok := condition()
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-f.happens:
		case <-time.After(time.Millisecond): // Close and results come without a call
		case <-timeout:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func (f *fakeTracker) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

type offerResults struct {
	mu     sync.Mutex
	counts map[offerResult]int
}

func (r *offerResults) count(o offerResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[o]++
}

func (r *offerResults) of(o offerResult) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[o]
}

func startOffer(t *testing.T, f *fakeTracker, poll time.Duration) (*offer, *offerResults) {
	t.Helper()
	results := &offerResults{counts: map[offerResult]int{}}
	o := newOffer()
	o.dial, o.key, o.advertise, o.port = f.dial, "dev", "board-7", 9090
	o.tickets, o.log, o.count, o.poll = newTickets(), quiet(), results.count, poll
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { o.run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return o, results
}

func TestAFreeDeviceIsRegisteredAndPut(t *testing.T) {
	f := newFakeTracker()
	o, _ := startOffer(t, f, time.Hour)
	o.publish(device{state: stateFree, offer: 1})
	f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
	info, put := f.infos[len(f.infos)-1], f.puts[0]
	for field, want := range map[string]string{
		"key": `"server:dev"`, "addr": `["board-7",9090]`, "state": `"free"`, "session": "null",
	} {
		if got := string(info[field]); got != want {
			t.Errorf("UPDATE_INFO %s = %s, want %s", field, got, want)
		}
	}
	if put.Key != "dev" || string(put.Port) != "9090" || put.Host == nil || *put.Host != "board-7" {
		t.Errorf("PUT %+v", put)
	}
	if key, ok := tvm.SplitMatchKey(put.MatchKey); !ok || key != "dev" {
		t.Errorf("ticket %q is not one for dev", put.MatchKey)
	}
	if _, err := o.tickets.Claim(put.MatchKey); err != nil {
		t.Errorf("the door does not know the ticket: %v", err)
	}
}

func TestTheTrackerIsToldWhoTheServerIsAndWhatIsNotEnforced(t *testing.T) {
	for name, tc := range map[string]struct {
		registration registration
		device       device
		want         map[string]string // empty: the field is not sent
	}{
		"a server in a pod": {
			registration{offer: &offer{name: "rk-0", instance: "uid-0"}}, device{unbounded: "cpu,memory"},
			map[string]string{"name": `"rk-0"`, "instance": `"uid-0"`, "unbounded": `["cpu","memory"]`},
		},
		"one on a bare machine": {
			registration{offer: &offer{}}, device{},
			map[string]string{"name": "", "instance": "", "unbounded": "[]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := tc.registration.info(tc.device)
			if err != nil {
				t.Fatal(err)
			}
			for field, want := range tc.want {
				if got := string(info[field]); got != want {
					t.Errorf("%s = %s, want %s", field, got, want)
				}
			}
		})
	}
}

// Nothing but the end of the connection can tell: the next poll is an hour away.
func TestATrackerThatIsGoneIsNoticedWhileNothingIsSaid(t *testing.T) {
	f := newFakeTracker()
	o, _ := startOffer(t, f, time.Hour)
	o.publish(device{state: stateFree, offer: 1})
	f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
	eventually(t, "it is offered", func() bool { return o.offered() == nil })
	f.set(func() { f.down = errors.New("connection refused") })
	close(f.current())
	f.see(t, "connection given up", func() bool { return f.closed == 1 })
	eventually(t, "it is not offered", func() bool { return o.offered() != nil })
	f.set(func() { f.down = nil })
	f.see(t, "registered again", func() bool { return f.conns == 2 && len(f.puts) == 2 })
	eventually(t, "it is offered again", func() bool { return o.offered() == nil })
	if f.puts[0].MatchKey == f.puts[1].MatchKey {
		t.Error("the ticket that another client may have is put again")
	}
}

func TestWithoutAnAdvertisedHostTheTrackerFillsItIn(t *testing.T) {
	r := &registration{offer: &offer{key: "dev", port: 1}}
	info, err := r.info(device{state: stateFree})
	if err != nil || string(info["addr"]) != "[null,1]" {
		t.Errorf("addr = %s, error %v", info["addr"], err)
	}
}

func TestEveryOfferHasATicketOfItsOwn(t *testing.T) {
	f := newFakeTracker()
	f.native = true
	o, _ := startOffer(t, f, time.Hour)
	seen := map[string]bool{}
	for i := range 20 {
		o.publish(device{state: stateFree, offer: uint64(i)})
		f.see(t, "PUT", func() bool { return len(f.puts) == i+1 })
		ticket := f.puts[i].MatchKey
		if seen[ticket] {
			t.Fatalf("ticket %q put twice", ticket)
		}
		seen[ticket] = true
		if _, err := o.tickets.Claim(ticket); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.pending = nil }) // granted
		o.publish(device{state: stateBusy, session: "s", client: "c", offer: uint64(i)})
		f.see(t, "busy", func() bool { return string(f.infos[len(f.infos)-1]["state"]) == `"busy"` })
		if got := string(f.infos[len(f.infos)-1]["session"]); got != `{"id":"s","client":"c"}` {
			t.Fatalf("session = %s", got)
		}
		o.tickets.Release()
	}
}

func TestALostTicketIsRenewedAfterFourMisses(t *testing.T) {
	f := newFakeTracker()
	o, results := startOffer(t, f, time.Millisecond)
	o.publish(device{state: stateFree, offer: 1})
	f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
	old := f.puts[0].MatchKey
	f.set(func() { f.pending = nil }) // granted; the client never comes
	f.see(t, "second PUT", func() bool { return len(f.puts) == 2 })
	if _, err := o.tickets.Claim(old); !errors.Is(err, errNoTicket) {
		t.Errorf("the lost ticket still admits: %v", err)
	}
	eventually(t, "the expiry is counted", func() bool { return results.of(offerExpired) == 1 })
}

func TestATicketThatIsClaimedIsNotRenewed(t *testing.T) {
	f := newFakeTracker()
	o, _ := startOffer(t, f, time.Millisecond)
	o.publish(device{state: stateFree, offer: 1})
	f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
	if _, err := o.tickets.Claim(f.puts[0].MatchKey); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.pending = nil })
	for range 20 { // polls
		<-f.happens
	}
	f.see(t, "no other ticket", func() bool { return len(f.puts) == 1 })
}

func TestATrackerThatDiesIsRegisteredWithAgain(t *testing.T) {
	f := newFakeTracker()
	o, _ := startOffer(t, f, time.Millisecond)
	o.publish(device{state: stateBusy, session: "s"})
	f.see(t, "registered", func() bool { return len(f.infos) >= 1 })
	f.set(func() { f.down = errors.New("connection refused") })
	f.see(t, "connection given up", func() bool { return f.closed >= 1 })
	var before int
	f.set(func() { f.down, before = nil, len(f.infos) })
	f.see(t, "registered as busy", func() bool {
		return len(f.infos) > before && string(f.infos[len(f.infos)-1]["state"]) == `"busy"`
	})
	if len(f.puts) != 0 {
		t.Error("a busy device was put")
	}
}

func TestAWithdrawalReachesEveryTracker(t *testing.T) {
	for name, native := range map[string]bool{"ours, by message": true, "a stock one, by closing the connection": false} {
		t.Run(name, func(t *testing.T) {
			f := newFakeTracker()
			f.native = native
			o, results := startOffer(t, f, time.Hour)
			o.publish(device{state: stateFree, offer: 1})
			f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
			o.tickets.Close()
			o.publish(device{state: stateDraining, offer: 1})
			f.see(t, "value is gone", func() bool {
				last := f.infos[len(f.infos)-1]
				return len(f.pending) == 0 && string(last["state"]) == `"draining"`
			})
			wantWithdrawn := 1
			if native {
				wantWithdrawn = 0
			}
			eventually(t, "count", func() bool { return results.of(offerWithdrawn) == wantWithdrawn })
		})
	}
}

func TestReconnectingNeverGivesUpAndNeverSpins(t *testing.T) {
	f := newFakeTracker()
	f.down = errors.New("no route to host")
	startOffer(t, f, time.Hour)
	began := time.Now()
	for range 4 {
		select {
		case <-f.happens:
		case <-time.After(patience):
			t.Fatal("gave up")
		}
	}
	if spent := time.Since(began); spent < 150*time.Millisecond {
		t.Errorf("four attempts within %s: no backoff", spent)
	}
}

func TestOfferErrorsNameWhatFailed(t *testing.T) {
	f := newFakeTracker()
	f.down = errors.New("broken pipe")
	r := &registration{offer: &offer{key: "dev", tickets: newTickets(), count: func(offerResult) {}}, conn: f, ticket: "x"}
	for want, call := range map[string]func() error{
		"update info": func() error { return r.update(context.Background(), device{}) },
		"put":         func() error { return r.put(context.Background()) },
		"poll":        func() error { return r.check(context.Background()) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), want+": broken pipe") {
			t.Errorf("%s: error %v", want, err)
		}
	}
}
